"""How fast a model is: on its own, against another way, against a baseline."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from edge.tasks import command


@command.task(
    iterable=["model", "shape", "set"],
    help={
        **command.STACK,
        "model": command.MODEL,
        "engine": command.ENGINE + "; several joined by commas",
        **command.OPTIONS,
        "count": "samples to take (p99 with bounds on both sides needs 368)",
        "duration": "stop after this many seconds even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        "iterations": "invocations per sample; 0: as many as the board's clock needs",
        **command.SCENARIO,
        "until": "measure in fresh processes until each model's time is known within so much, 1%",
        "rounds": "processes per model at most, with --until",
        "cold": "open each model in so many fresh processes, and show each step of the cold start",
        "strict": "end with exit code 7 if a run is not trusted",
        "profile": "then, in a process of its own, say which operators the time goes to",
        "wait": command.WAIT,
    },
)
def bench(
    _: Any,
    board: str,
    model: list[str],
    shape: list[str],
    set: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    count: str = "500",
    duration: str = "0",
    warmup: str = "20",
    iterations: str = "0",
    rate: str = "0",
    poisson: bool = False,
    idle: str = "0",
    cpus: str = "",
    undisturbed: bool = False,
    timeout: str = "3600",
    until: str | None = None,
    rounds: str = "50",
    cold: str = "0",
    profile: bool = False,
    strict: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Measure latency on a board; what is live there stays live.

    invoke bench --board rpi4 --model m.tflite
    invoke bench --board rpi4 --model m.tflite --count 4000 --threads 4
    invoke bench --board rpi4 --model m.tflite --engine native,python
    invoke bench --board rpi4 --model m.tflite --rate 20 --poisson
    invoke bench --board orangepi-5 --model m.tflite --cpus big --set governor=performance
    invoke bench --board rpi4 --model m.tflite --until 1%
    invoke bench --board rpi4 --model m.tflite --cold 20
    invoke bench --board rpi4 --model m.tflite --profile

    Every sample is kept; docs/measuring.md says how to read the result. Engines native and python
    together run by turns on one interpreter: the table then splits a call into its parts.
    """
    from edge import bench as bench_module
    from edge import board as board_module
    from edge import build as build_module
    from edge import deploy as deploy_module
    from edge import profile as profile_module
    from edge import report, session
    from edge import run as run_module
    from edge.errors import UsageError
    from edge.report import runs as runs_report

    options = command.options(signature, shape, batch, threads, xnnpack, delegate, ops)
    plan = command.plan(
        options,
        count=count,
        duration=duration,
        warmup=warmup,
        iterations=iterations,
        rate=rate,
        poisson=poisson,
        idle=idle,
        cpus=cpus,
        undisturbed=undisturbed,
        set=set,
        timeout=timeout,
    )
    groups = bench_module.groups(engine)
    if (plan.rate_per_s or plan.idle_s) and any(len(each) > 1 for each in groups):
        raise UsageError("--rate and --idle: measure native and python one by one, not together")
    in_rounds = _rounds_wanted(until, rounds, cold)
    if in_rounds and profile:
        raise UsageError("--profile goes with a single measurement, not with --until or --cold")
    wait_s = command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    for group in groups:
        deploy_module.check(target, command.choice(group[0], runtime, lib, options))
    found = deploy_module.models(command.models(model), report.progress, options)
    library = build_module.host_library(report.progress)
    if in_rounds:
        choices = [command.choice(name, runtime, lib, options) for name in command.engines(engine)]
        with session.connect(target, report.progress) as opened:
            in_fresh = _in_rounds(opened, found, choices, plan, library, in_rounds, wait_s, json)
        if strict:
            run_module.insist(in_fresh)
        return
    runs: list[Any] = []
    splits: list[Any] = []
    profiles: list[Any] = []
    with session.connect(target, report.progress) as opened:
        for group in groups:
            choice = command.choice(group[0], runtime, lib, options)
            wanted = deploy_module.prepared(opened, found, report.progress, choice)
            if profile:
                profile_module.check(wanted.engine)
            with deploy_module.staged(opened, wanted, report.progress, wait_s=wait_s):
                for item in wanted.models:
                    arguments = (opened, wanted, item, plan, library, report.progress)
                    if len(group) == 1:
                        runs.append(
                            bench_module.measure(
                                *arguments, command=command.typed(), live=report.live
                            )
                        )
                    else:
                        both, parts = bench_module.split(*arguments, command=command.typed())
                        runs += both
                        splits.append(parts)
                    if profile:
                        given = (opened, wanted, item, runs[-1], report.progress)
                        profiles.append(profile_module.take(*given))
    if json:
        found_runs = [runs_report.run_json(run) for run in runs]
        more = {
            "splits": [runs_report.split_json(each) for each in splits],
            "profiles": [runs_report.profile_json(each) for each in profiles],
        }
        more = {key: values for key, values in more.items() if values}
        report.print_json({"runs": found_runs, **more} if more else found_runs)
        if strict:
            run_module.insist(runs)
        return
    emulated = any(run.emulated for run in runs)
    report.print_table(runs_report.runs_table(runs, report.title(target.name, emulated)))
    for parts in splits:
        report.print_table(runs_report.split_table(parts, emulated=emulated))
        for line in runs_report.split_lines(parts):
            report.print_line(f"  {line}")
    for run in runs:
        report.print_line(f"{run.model}, engine {run.engine}, {run.runtime}:")
        for line in runs_report.run_lines(run):
            report.print_line(f"  {line}")
    for each in profiles:
        report.print_table(runs_report.profile_table(each))
        for line in runs_report.profile_lines(each):
            report.print_line(f"  {line}")
    if strict:
        run_module.insist(runs)


def _rounds_wanted(until: str | None, most: str, cold: str) -> Any:
    """A precision.Goal for --until, a number for --cold; None: neither is given."""
    from edge import group, precision
    from edge.errors import UsageError

    opens = int(command.number("--cold", cold))
    if not 0 <= opens <= group.MOST_ROUNDS:
        raise UsageError(f"--cold {cold}: must be 0 to {group.MOST_ROUNDS} processes")
    if until is None:
        return opens or None
    if opens:
        raise UsageError("--until and --cold measure two things: give one of them")
    return precision.goal(until, int(command.number("--rounds", most)))


def _in_rounds(
    opened: Any,
    found: Any,
    choices: list[Any],
    plan: Any,
    library: Any,
    wanted: Any,
    wait_s: float,
    json: bool,
) -> list[Any]:
    """bench --until and --cold: each model with each engine, in processes of its own; the runs."""
    from edge import deploy as deploy_module
    from edge import report, rounds
    from edge.report import rounds as rounds_report

    cold = isinstance(wanted, int)
    one: Callable[..., Any] = rounds.cold if cold else rounds.until
    results: list[Any] = []
    for choice in choices:
        release = deploy_module.prepared(opened, found, report.progress, choice)
        with deploy_module.staged(opened, release, report.progress, wait_s=wait_s):
            for item in release.models:
                results.append(
                    one(
                        opened,
                        rounds.Contender(release, item, plan),
                        library,
                        report.progress,
                        wanted,
                        command=command.typed(),
                        begin=functools.partial(
                            rounds_report.round_begins,
                            item.path.name,
                            most=wanted if cold else wanted.most,
                        ),
                    )
                )
    runs = [run for each in results for run in each.runs]
    title = report.title(opened.board.name, runs[0].emulated)
    if json:
        report.print_json([rounds_report.in_rounds_json(each) for each in results])
        return runs
    report.print_table(
        (rounds_report.cold_table if cold else rounds_report.until_table)(results, title)
    )
    for each in results:
        for line in (rounds_report.cold_lines if cold else rounds_report.until_lines)(each):
            report.print_line(line)
    return runs


@command.task(
    auto_shortflags=False,  # more flags than letters
    help={
        "board": command.BOARD,
        "host": command.HOST,
        "a": "one arm's flags as one text, such as '--threads 1': docs/comparing.md lists them",
        "b": "the other arm's flags",
        "common": "flags for both arms, as one text; an arm's own come after them",
        "model": "a .tflite file, for each arm that names none",
        "rounds": "of each a process per arm, in random order",
        "count": "samples per process",
        "duration": "seconds per process, even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        "seed": "of the random order",
        "strict": "exit code 7 if a round's run is not to be trusted",
        "wait": command.WAIT,
        "json": command.JSON,
    },
)
def compare(
    _: Any,
    board: str,
    a: str,
    b: str,
    model: str | None = None,
    common: str = "",
    host: str | None = None,
    rounds: str = "20",
    count: str = "500",
    duration: str = "1",
    warmup: str = "20",
    seed: str = "1",
    strict: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Is B faster than A, and by how much? Both run by turns, in fresh processes.

    invoke compare --board rpi4 --model m.tflite -a "--threads 1" -b "--threads 4"
    invoke compare --board rpi4 -a "--model old.tflite" -b "--model new.tflite" --rounds 40
    invoke compare --board rpi4 --model m.tflite -a "" -b "--no-xnnpack" --common "--batch 4"

    docs/comparing.md says what is claimed. What is live on the board stays live.
    """
    from edge import arm, comparison, deploy, group, report, session
    from edge import board as board_module
    from edge import build as build_module
    from edge import rounds as rounds_module
    from edge.errors import UntrustedError
    from edge.report import rounds as rounds_report
    from edge.run import Plan

    plan = Plan(
        count=int(command.number("--count", count)),
        duration_s=command.seconds("--duration", duration),
        warmup=int(command.number("--warmup", warmup)),
    )
    arms = [
        arm.parse(flag, text, plan, model=model, common=common)
        for flag, text in (("-a", a), ("-b", b))
    ]
    wanted_rounds = _rounds(rounds, comparison.LEAST_ROUNDS)
    order, wait_s = int(command.number("--seed", seed)), command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    for each in arms:
        deploy.check(target, each.choice)
    found = [deploy.models([e.model], report.progress, e.plan.options) for e in arms]
    library = build_module.host_library(report.progress)
    with session.connect(target, report.progress) as opened:
        releases = [
            deploy.prepared(opened, models, report.progress, each.choice)
            for each, models in zip(arms, found, strict=True)
        ]
        with deploy.staged(opened, releases, report.progress, wait_s=wait_s):
            ours, theirs = rounds_module.measure(
                opened,
                group.create("compare", command.typed(), tuple(each.label for each in arms)),
                [
                    rounds_module.Contender(release, release.models[0], each.plan)
                    for release, each in zip(releases, arms, strict=True)
                ],
                library,
                report.progress,
                count=wanted_rounds,
                seed=order,
                begin=functools.partial(
                    rounds_report.round_begins, "comparing", most=wanted_rounds
                ),
            )
    made = comparison.of_runs(ours, theirs, (arms[0].label, arms[1].label))
    if json:
        report.print_json(rounds_report.comparison_json(made, ours, theirs))
    else:
        title = report.title(target.name, made.emulated)
        report.print_table(rounds_report.comparison_table(made, ours, theirs, title))
        for line in rounds_report.comparison_lines(made, ours):
            report.print_line(line)
    if strict and (made.remarks or made.emulated):
        why = "; ".join(made.remarks) or "emulated: no speed of a real board"
        raise UntrustedError(f"not trusted: {why}")


def _rounds(text: str, least: int) -> int:
    from edge import group
    from edge.errors import UsageError

    if not least <= (number := int(command.number("--rounds", text))) <= group.MOST_ROUNDS:
        raise UsageError(f"--rounds {text}: must be {least} to {group.MOST_ROUNDS}")
    return number


@command.task(
    auto_shortflags=False,  # more flags than letters
    iterable=["model", "shape", "set"],
    help={
        **command.STACK,
        "baseline": "a .toml file of earlier rounds; commit it",
        "update": "write what is measured into the file instead of comparing",
        "tolerance": "with --update: how much slower a model may become, kept in the file; else "
        "what the file has, or 5%",
        "model": command.MODEL,
        "engine": command.ENGINE,
        **command.OPTIONS,
        "rounds": "processes per model",
        "count": "samples per process",
        "duration": "seconds per process, even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        **command.SCENARIO,
        "wait": command.WAIT,
    },
)
def check(
    _: Any,
    board: str,
    baseline: str,
    model: list[str],
    shape: list[str],
    set: list[str],
    host: str | None = None,
    update: bool = False,
    tolerance: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    rounds: str = "10",
    count: str = "500",
    duration: str = "1",
    warmup: str = "20",
    rate: str = "0",
    poisson: bool = False,
    idle: str = "0",
    cpus: str = "",
    undisturbed: bool = False,
    timeout: str = "3600",
    wait: str = "0",
    json: bool = False,
) -> None:
    """Has a model become slower than a baseline permits? Exit code 6 if so.

    invoke check --board rpi4 --model m.tflite --baseline perf.toml --update --tolerance 5%
    invoke check --board rpi4 --model m.tflite --baseline perf.toml

    It fails only if that can be claimed with 99 % confidence: docs/comparing.md.
    """
    from edge import baseline as baseline_module
    from edge import board as board_module
    from edge import build as build_module
    from edge import comparison, deploy, group, precision, report, session
    from edge import rounds as rounds_module
    from edge.errors import UsageError
    from edge.report import rounds as rounds_report

    options = command.options(signature, shape, batch, threads, xnnpack, delegate, ops)
    plan = command.plan(
        options,
        count=count,
        duration=duration,
        warmup=warmup,
        rate=rate,
        poisson=poisson,
        idle=idle,
        cpus=cpus,
        undisturbed=undisturbed,
        set=set,
        timeout=timeout,
    )
    wanted_rounds = _rounds(rounds, baseline_module.LEAST_ROUNDS)
    if tolerance is not None and not update:
        raise UsageError("--tolerance goes into the baseline: give it together with --update")
    allowed = None if tolerance is None else precision.percentage("--tolerance", tolerance)
    wait_s, path = command.seconds("--wait", wait), command.path(baseline)
    entries = baseline_module.load(path, create=update)
    choice = command.choice(engine, runtime, lib, options)
    target = board_module.load(board, host=host)
    deploy.check(target, choice)
    found = deploy.models(command.models(model), report.progress, options)
    keys = [(target.name, item.path.name, baseline_module.flags(plan)) for item in found]
    before = [] if update else [baseline_module.find(entries, path, key) for key in keys]
    library = build_module.host_library(report.progress)
    measured: list[Any] = []
    with session.connect(target, report.progress) as opened:
        wanted = deploy.prepared(opened, found, report.progress, choice)
        for then, item in zip(before, found, strict=not update):
            baseline_module.insist_same(
                then,
                model_sha256=item.sha256,
                engine=wanted.engine,
                runtime=wanted.runtime,
                emulated=opened.board.emulated or opened.facts.emulated,
            )
        with deploy.staged(opened, wanted, report.progress, wait_s=wait_s):
            for item in found:
                (runs,) = rounds_module.measure(
                    opened,
                    group.create("check", command.typed()),
                    [rounds_module.Contender(wanted, wanted.at(item.place), plan)],
                    library,
                    report.progress,
                    count=wanted_rounds,
                    begin=functools.partial(
                        rounds_report.round_begins, item.path.name, most=wanted_rounds
                    ),
                )
                measured.append(runs)
    if update:
        entries = baseline_module.updated(
            entries,
            [
                baseline_module.entry(
                    runs, baseline_module.tolerance(entries, key, allowed), key[2]
                )
                for runs, key in zip(measured, keys, strict=True)
            ],
        )
        baseline_module.save(path, entries)
        if json:
            report.print_json({"baseline": str(path), "updated": [list(key) for key in keys]})
        else:
            for runs in measured:
                for line in rounds_report.updated_lines(str(path), runs):
                    report.print_line(line)
        return
    checks = [
        baseline_module.check(
            then,
            baseline_module.entry(runs, then.tolerance, then.flags),
            comparison.troubles(runs, then.model),
        )
        for then, runs in zip(before, measured, strict=True)
    ]
    if json:
        report.print_json([rounds_report.check_json(each) for each in checks])
    else:
        title = report.title(target.name, checks[0].now.emulated)
        report.print_table(rounds_report.checks_table(checks, title))
        for each, runs in zip(checks, measured, strict=True):
            for line in rounds_report.check_lines(each, runs):
                report.print_line(line)
    baseline_module.insist(checks)


@command.task(
    auto_shortflags=False,
    iterable=["model", "shape"],
    help={
        **command.STACK,
        "model": command.MODEL,
        "engine": command.ENGINE + "; several joined by commas",
        **{key: text for key, text in command.OPTIONS.items() if key != "batch"},
        "batch": "sizes joined by commas",
        "count": "samples per size",
        "duration": "seconds per size, even with fewer samples; 0: no limit",
        "warmup": "invocations before the first sample",
        "strict": "end with exit code 7 if a run is not trusted",
        "wait": command.WAIT,
    },
)
def sweep(
    _: Any,
    board: str,
    model: list[str],
    shape: list[str],
    host: str | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    signature: str | None = None,
    batch: str = "1,2,4,8,16,32",
    threads: str = "1",
    xnnpack: bool = True,
    ops: str | None = None,
    count: str = "300",
    duration: str = "5",
    warmup: str = "10",
    strict: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Throughput, latency and memory of a model at several batch sizes, in one table.

    invoke sweep --board rpi4 --model m.tflite
    invoke sweep --board localhost --model m.tflite --engine litert,python,numpy --batch 1,8,64

    Each size runs in a process of its own; docs/measuring.md says how to read the table.
    """
    from edge import board as board_module
    from edge import build as build_module
    from edge import deploy, report, session
    from edge import run as run_module
    from edge import sweep as sweep_module
    from edge.report import sweep as sweep_report

    options = command.options(signature, shape, "0", threads, xnnpack, delegate, ops)
    plan = command.plan(
        options,
        count=count,
        duration=duration,
        warmup=warmup,
        rate="0",
        poisson=False,
        idle="0",
        cpus="",
        undisturbed=False,
        set=[],
        timeout="3600",
    )
    batches = sweep_module.sizes(batch)
    wait_s = command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    choices = [command.choice(name, runtime, lib, options) for name in command.engines(engine)]
    for choice in choices:
        deploy.check(target, choice)
    found = deploy.models(command.models(model), report.progress, options)
    library = build_module.host_library(report.progress)
    points: list[Any] = []
    with session.connect(target, report.progress) as opened:
        for choice in choices:
            wanted = deploy.prepared(opened, found, report.progress, choice)
            with deploy.staged(opened, wanted, report.progress, wait_s=wait_s):
                for item in wanted.models:
                    points += sweep_module.measure(
                        *(opened, wanted, item, plan, batches, library, report.progress),
                        command=command.typed(),
                    )
    sweep_module.insist(points)
    runs = [point.run for point in points if point.run is not None]
    if json:
        report.print_json(sweep_report.sweep_json(points))
    else:
        title = report.title(target.name, runs[0].emulated)
        report.print_table(sweep_report.sweep_table(points, title))
        for line in sweep_report.sweep_lines(points):
            report.print_line(line)
    if strict:
        run_module.insist(runs)
