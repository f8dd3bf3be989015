"""What is on a board: deployed, listed, rolled back, dropped, packed."""

from __future__ import annotations

from typing import Any

from invoke.exceptions import Exit

from edge.tasks import command


@command.task(
    auto_shortflags=False,  # more flags than letters
    iterable=["model", "shape"],
    help={
        **command.STACK,
        "model": command.MODEL,
        "engine": command.ENGINE,
        **command.OPTIONS,
        **command.BUILD,
        "smoke": "before the switch, compare each model's output with this machine's",
        **command.FLEET,
        "verify": "read everything on the board back, also if nothing has changed",
        "wait": command.WAIT,
    },
)
def deploy(
    _: Any,
    model: list[str],
    shape: list[str],
    board: str | None = None,
    all: bool = False,
    host: str | None = None,
    jobs: str = "0",
    canary: str = "0",
    max_failures: str = "0",
    max_slowdown: str = "10",
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    signature: str | None = None,
    batch: str = "0",
    threads: str = "1",
    xnnpack: bool = True,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    smoke: bool = True,
    verify: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Build, check, push what changed, verify on the board, switch live.

    invoke deploy --board rpi4 --model m.tflite
    invoke deploy --board rpi4 --host pi@10.0.0.7 --model a.tflite --model b.tflite
    invoke deploy --board rpi2 --engine python --model m.tflite
    invoke deploy --board 'rpi4-*' --canary 1 --model m.tflite
    invoke deploy --all --max-failures 3 --model m.tflite

    Without --host, the board's name is the SSH host: address, user and key come from ~/.ssh/config.
    Whatever fails, the release that was live stays live. How models are opened (--signature,
    --shape, --batch, --threads) matters here for the check alone.
    """
    from edge import board as board_module
    from edge import build as build_module
    from edge import canary as canary_module
    from edge import deploy as deploy_module
    from edge import fleet, report, session
    from edge.report import releases as releases_report

    options = command.options(signature, shape, batch, threads, xnnpack, delegate, ops)
    choice = command.choice(engine, runtime, lib, options, toolchain, lto, cflags)
    targets = board_module.select(board, all=all, host=host)
    bounds = fleet.Bounds(
        jobs=int(command.number("--jobs", jobs)),
        canary=int(command.number("--canary", canary)),
        max_failures=int(command.number("--max-failures", max_failures)),
    )
    fleet.check(bounds, len(targets))
    tolerance = canary_module.tolerance(command.number("--max-slowdown", max_slowdown, whole=False))
    wait_s = command.seconds("--wait", wait)
    for target in targets:
        deploy_module.check(target, choice)
    found = deploy_module.models(command.models(model), report.progress, options)
    library = build_module.host_library(report.progress)
    canaries = {target.name for target in targets[: bounds.canary]}
    compared: dict[str, Any] = {}

    def one(opened: Any, progress: Any) -> Any:
        def compare(_: Any, wanted: Any, previous: str | None) -> None:
            compared[opened.board.name] = canary_module.compare(
                *(opened, previous, wanted, library, progress),
                options=options,
                tolerance=tolerance,
            )
            canary_module.insist(opened, compared[opened.board.name])

        return deploy_module.onto(
            opened,
            found,
            progress,
            choice=choice,
            options=options,
            smoke=smoke,
            before_switch=compare if opened.board.name in canaries else None,
            wait_s=wait_s,
            verify=verify,
        )

    if len(targets) == 1:
        with session.connect(targets[0], report.progress) as opened:
            done = one(opened, report.progress)
        if json:
            report.print_json(releases_report.deployment_json(done))
        else:
            for line in releases_report.deployment_lines(done):
                report.print_line(line)
        return
    made = fleet.run(targets, one, report.board_progress, bounds=bounds, explain=command.explained)
    if json:
        report.print_json(releases_report.fleet_json(made, compared))
    else:
        report.print_table(releases_report.fleet_table(made))
        for line in releases_report.fleet_lines(made):
            report.print_line(line)
    if made.exit_code:
        raise Exit(code=made.exit_code)


@command.task(help={"board": command.BOARD, "host": command.HOST, "json": command.JSON})
def releases(_: Any, board: str, host: str | None = None, json: bool = False) -> None:
    """List the releases on a board: which is live, when and by whom it became so, what is in it.

    invoke releases --board rpi4
    """
    from edge import board as board_module
    from edge import installed, report, session
    from edge.report import releases as releases_report

    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        found = installed.releases(opened, report.progress)
        where = opened.transport.name
    if json:
        report.print_json([releases_report.installed_json(one) for one in found])
    elif found:
        report.print_table(releases_report.releases_table(f"{target.name} ({where})", found))
    else:
        report.print_line(f"{target.name} ({where}): nothing is deployed")


@command.task(
    help={
        "board": command.BOARD,
        "host": command.HOST,
        "to": "id of a release, or its beginning, instead of the one that was live before",
        "wait": command.WAIT,
        "json": command.JSON,
    }
)
def rollback(
    _: Any,
    board: str,
    host: str | None = None,
    to: str | None = None,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Make an earlier release live again; nothing is sent.

    invoke rollback --board rpi4
    invoke rollback --board rpi4 --to 3f2a

    It is verified on the board first, and the board's on_switch runs, as with a deploy. Twice in a
    row leads back to where it began.
    """
    from edge import board as board_module
    from edge import installed, report, session

    wait_s = command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        before, now = installed.roll_back(opened, report.progress, to=to, wait_s=wait_s)
        where = opened.transport.name
    if json:
        report.print_json(
            {"board": target.name, "target": where, "release": now, "previous": before}
        )
    elif before == now:
        report.print_line(f"{target.name} ({where}): release {now} is live already")
    else:
        report.print_line(f"{target.name} ({where}): release {now} is live, before: {before}")


@command.task(
    help={
        "board": command.BOARD,
        "host": command.HOST,
        "keep": "how many releases stay, those that were live last",
        "wait": command.WAIT,
        "json": command.JSON,
    }
)
def prune(
    _: Any,
    board: str,
    host: str | None = None,
    keep: str = "3",
    wait: str = "0",
    json: bool = False,
) -> None:
    """Drop old releases from a board.

    invoke prune --board rpi4 --keep 2

    The live one, pinned ones (`invoke pin`) and those that a running process was started from stay
    in any case.
    """
    from edge import board as board_module
    from edge import installed, report, session

    number, wait_s = int(command.number("--keep", keep)), command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        dropped, kept = installed.prune(opened, report.progress, keep=number, wait_s=wait_s)
        where = opened.transport.name
    freed = sum(stored.own_bytes for stored in dropped)
    if json:
        report.print_json(
            {
                "board": target.name,
                "target": where,
                "dropped": [stored.id for stored in dropped],
                "kept": [stored.id for stored in kept],
            }
        )
    else:
        names = ", ".join(stored.id for stored in dropped) or "nothing"
        report.print_line(
            f"{target.name} ({where}): dropped {names}"
            + (f", at least {report.size(freed)} freed" if dropped else "")
            + f"; {len(kept)} stay"
        )


@command.task(
    help={
        "board": command.BOARD,
        "host": command.HOST,
        "release": "its id, or the beginning of it: see `invoke releases`",
        "remove": "let it be dropped again",
        "wait": command.WAIT,
        "json": command.JSON,
    }
)
def pin(
    _: Any,
    board: str,
    release: str,
    host: str | None = None,
    remove: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Keep a release on a board whatever `invoke prune` drops.

    invoke pin --board rpi4 --release 3f2a
    invoke pin --board rpi4 --release 3f2a --remove
    """
    from edge import board as board_module
    from edge import installed, report, session

    wait_s = command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        found = installed.pin(opened, report.progress, release, pinned=not remove, wait_s=wait_s)
        where = opened.transport.name
    if json:
        report.print_json(
            {"board": target.name, "target": where, "release": found, "pinned": not remove}
        )
    else:
        state = "may be dropped" if remove else "is pinned"
        report.print_line(f"{target.name} ({where}): release {found} {state}")


@command.task(
    help={
        "board": command.BOARD,
        "host": command.HOST,
        "force": "also if a program that runs was started from a release",
        "wait": command.WAIT,
        "json": command.JSON,
    }
)
def undeploy(
    _: Any,
    board: str,
    host: str | None = None,
    force: bool = False,
    wait: str = "0",
    json: bool = False,
) -> None:
    """Remove every release from a board, pinned ones too; its deployments.log stays.

    invoke undeploy --board rpi4
    """
    from edge import board as board_module
    from edge import installed, report, session

    wait_s = command.seconds("--wait", wait)
    target = board_module.load(board, host=host)
    with session.connect(target, report.progress) as opened:
        removed = installed.undeploy(opened, report.progress, force=force, wait_s=wait_s)
        where = opened.transport.name
    if json:
        report.print_json(
            {"board": target.name, "target": where, "removed": [stored.id for stored in removed]}
        )
    else:
        names = ", ".join(stored.id for stored in removed) or "nothing was deployed"
        report.print_line(f"{target.name} ({where}): removed: {names}")


@command.task(
    iterable=["model"],
    help={
        **{name: text for name, text in command.STACK.items() if name != "host"},
        "model": command.MODEL,
        "engine": "tflite or litert: see docs/engines.md; else the board's own",
        **command.BUILD,
        "output": "the file to write: .tar.zst, or .tar for machines without zstd",
        "force": "replace a file that is there",
    },
)
def bundle(
    _: Any,
    board: str,
    model: list[str],
    output: str,
    engine: str | None = None,
    runtime: str | None = None,
    lib: str | None = None,
    delegate: str | None = None,
    ops: str | None = None,
    toolchain: str | None = None,
    lto: bool = False,
    cflags: str | None = None,
    force: bool = False,
    json: bool = False,
) -> None:
    """Write a release as one file, with an install.sh that makes it live without a network.

    invoke bundle --board rpi4 --model m.tflite --output app.tar.zst

    No board is reached: docs/bundle.md says what is in it, and what is not.
    """
    from edge import board as board_module
    from edge import bundle as bundle_module
    from edge import deploy as deploy_module
    from edge import options as options_module
    from edge import report
    from edge.report import releases as releases_report

    given = None if delegate is None else options_module.delegate(delegate)
    options = options_module.Options(delegate=given, ops=ops)
    choice = command.choice(engine, runtime, lib, options, toolchain, lto, cflags)
    path = bundle_module.output_file(command.path(output), force=force)
    target = board_module.load(board)
    bundle_module.check(target, choice)
    deploy_module.check(target, choice)
    found = deploy_module.models(command.models(model), report.progress, options)
    wanted = deploy_module.prepare(target, found, report.progress, choice=choice)
    made = bundle_module.write(wanted, target, path, report.progress, delegate=given)
    if json:
        report.print_json(releases_report.bundle_json(made))
    else:
        for line in releases_report.bundle_lines(made):
            report.print_line(line)
