from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edge import artifact, layout, release
from edge.artifact import Artifact
from edge.errors import BoardError, UsageError
from edge.options import Delegate


def made(folder: Path, place: str, content: bytes, *, name: str | None = None) -> Artifact:
    path = folder / (name or Path(place).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return artifact.of_file(path, place, executable=place.startswith("bin/"))


def put_together(
    files: list[Artifact],
    models: list[Artifact],
    recipe: dict[str, object] | None = None,
    engine: str = "tflite",
) -> release.Release:
    return release.make(
        "aarch64", files, models, runtime_name="litert-2.1.0", engine=engine, recipe=recipe
    )


def assemble(folder: Path, *, model: bytes = b"model") -> release.Release:
    return put_together(
        [
            made(folder, "bin/edge-run", b"runner"),
            made(folder, "lib/libtflite.so", b"library"),
        ],
        [made(folder, "models/m.tflite", model)],
    )


def test_the_same_content_has_the_same_id_anywhere(tmp_path: Path) -> None:
    here, there = assemble(tmp_path / "a"), assemble(tmp_path / "b")
    assert here.id == there.id
    assert here.manifest == there.manifest


def test_other_content_has_another_id(tmp_path: Path) -> None:
    assert assemble(tmp_path / "a").id != assemble(tmp_path / "b", model=b"other").id


def test_the_id_is_the_manifests_hash_and_the_manifest_names_every_file(tmp_path: Path) -> None:
    found = assemble(tmp_path)
    assert found.id == hashlib.sha256(found.manifest).hexdigest()[:16]
    files = {entry["path"]: entry for entry in json.loads(found.manifest)["files"]}
    assert set(files) == {"bin/edge-run", "lib/libtflite.so", "models/m.tflite"}
    assert files["models/m.tflite"]["sha256"] == hashlib.sha256(b"model").hexdigest()
    assert files["bin/edge-run"]["executable"] is True
    assert str(tmp_path) not in found.manifest.decode()


def test_two_models_of_one_name_are_refused_unless_equal(tmp_path: Path) -> None:
    runner = made(tmp_path, "bin/edge-run", b"r")
    library = made(tmp_path, "lib/libtflite.so", b"l")
    one = made(tmp_path / "x", "models/m.tflite", b"1")
    same = made(tmp_path / "y", "models/m.tflite", b"1")
    other = made(tmp_path / "z", "models/m.tflite", b"2")
    assert len(put_together([runner, library], [one, same]).models) == 1
    with pytest.raises(UsageError, match="rename one"):
        put_together([runner, library], [one, other])


def test_a_release_without_a_model_is_refused(tmp_path: Path) -> None:
    runner = made(tmp_path, "bin/edge-run", b"r")
    with pytest.raises(UsageError, match="--model"):
        put_together([runner, runner], [])


def test_shared_content_counts_once(tmp_path: Path) -> None:
    runner = made(tmp_path, "bin/edge-run", b"12345")
    library = made(tmp_path, "lib/libtflite.so", b"12345")
    model = made(tmp_path, "models/m.tflite", b"1234567")
    assert put_together([runner, library], [model]).size_bytes == 12


@pytest.mark.parametrize(
    "name", ["../x", "a/b", ".hidden", "", "a b", "x;y", "$(id)", "ü.tflite", "a" * 129, "a\nb"]
)
def test_names_that_may_not_go_to_a_board(name: str) -> None:
    with pytest.raises(UsageError, match="file name on a board"):
        layout.safe_name(name)


def test_ordinary_names_may() -> None:
    assert layout.safe_name("mobilenet_v2-1.0+int8.tflite") == "mobilenet_v2-1.0+int8.tflite"


def test_how_the_runner_was_built_belongs_to_the_id(tmp_path: Path) -> None:
    files = [made(tmp_path, "bin/edge-run", b"r"), made(tmp_path, "lib/libtflite.so", b"l")]
    models = [made(tmp_path, "models/m.tflite", b"m")]
    plain = put_together(files, models)
    tuned = put_together(files, models, {"cflags": "-O3"})
    assert plain.id != tuned.id
    assert json.loads(tuned.manifest)["build"] == {"cflags": "-O3"}
    assert put_together(files, models, engine="litert").id != plain.id


def test_other_settings_of_a_delegate_are_another_release(tmp_path: Path) -> None:
    files = [made(tmp_path, "bin/edge-run", b"r"), made(tmp_path, "lib/libtflite.so", b"l")]
    models = [made(tmp_path, "models/m.tflite", b"m")]

    def of(delegate: Delegate | None) -> release.Release:
        return release.make(
            "aarch64", files, models, runtime_name="r", engine="tflite", delegate=delegate
        )

    plain = Delegate("here/libx.so")
    ids = [of(d).id for d in (None, plain, Delegate("here/libx.so", settings=(("scale", "2"),)))]
    assert len(set(ids)) == 3
    assert of(Delegate("elsewhere/libx.so")).id == ids[1]


def test_the_runtime_is_known_by_its_file_or_by_all_of_them(tmp_path: Path) -> None:
    runner, model = made(tmp_path, "bin/edge-run", b"r"), made(tmp_path, "models/m.tflite", b"m")
    library = made(tmp_path, "lib/libtflite.so", b"l")
    assert put_together([runner, library], [model]).runtime_sha256 == library.sha256
    packages = [made(tmp_path, f"python/{name}", name.encode()) for name in ("a.py", "b.so")]
    several = put_together([runner, *packages], [model]).runtime_sha256
    assert several == put_together([runner, *reversed(packages)], [model]).runtime_sha256
    assert several not in {a.sha256 for a in packages}


def test_what_the_board_must_load_are_programs_and_libraries(tmp_path: Path) -> None:
    places = ["bin/edge-run", "lib/libtflite.so", "python/x/_wrap.cpython-311.so", "python/x/y.py"]
    found = put_together(
        [made(tmp_path, place, place.encode()) for place in places],
        [made(tmp_path, "models/m.tflite", b"m")],
    )
    assert [a.place for a in found.artifacts if a.loaded] == places[:3]


def test_a_delegate_goes_along_unless_the_board_has_it() -> None:
    ours, theirs = Delegate("some/where/libx.so"), Delegate("/usr/lib/libx.so", on_board=True)
    assert str(release.delegate_place(ours)) == "lib/delegate/libx.so"
    assert str(release.delegate_place(theirs)) == "/usr/lib/libx.so"
    with pytest.raises(UsageError, match="file name on a board"):
        release.delegate_place(Delegate("some/a b.so"))


def test_a_delegate_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="check the path"):
        release.delegate_artifact(Delegate(str(tmp_path / "missing.so")))
    (tmp_path / "text.so").write_text("text")
    with pytest.raises(UsageError, match="no program or library"):
        release.delegate_artifact(Delegate(str(tmp_path / "text.so")))
    with pytest.raises(UsageError, match="no external delegate"):
        release.delegate_artifact(Delegate(str(Path("/bin/sh").resolve())))


# --- manifests from elsewhere ---------------------------------------------------------------------


def a_manifest(**changes: Any) -> bytes:
    file = {"path": "models/m.tflite", "sha256": "a" * 64, "size_bytes": 5, "executable": False}
    made = {
        "edge": 2,
        "arch": "aarch64",
        "engine": "tflite",
        "runtime": "litert-2.1.0",
        "build": {},
        "delegate": None,
        "files": [{**file, **changes.pop("file", {})}],
        **changes,
    }
    return json.dumps({key: value for key, value in made.items() if value != "absent"}).encode()


@pytest.mark.parametrize(
    "delegate",
    [None, Delegate("board:/usr/lib/npu.so"), Delegate("x.so", settings=(("a", "b"), ("c", "")))],
)
def test_a_manifest_is_read_back_as_it_was_written(
    tmp_path: Path, delegate: Delegate | None
) -> None:
    files = [made(tmp_path, "bin/edge-run", b"runner"), made(tmp_path, "lib/libtflite.so", b"lib")]
    models = [made(tmp_path, "models/m.tflite", b"model")]
    if delegate is not None and delegate.path.startswith("board:"):
        delegate = Delegate(delegate.path.removeprefix("board:"), on_board=True)
    wanted = release.make(
        "aarch64", files, models, runtime_name="file:my lib.so", engine="tflite", delegate=delegate
    )
    found = release.parse_manifest(wanted.manifest)
    assert (found.id, found.arch, found.engine) == (wanted.id, "aarch64", "tflite")
    assert found.runtime == "file:my lib.so"
    assert {(f.path, f.sha256, f.size_bytes, f.executable) for f in found.files} == {
        (a.place, a.sha256, a.size_bytes, a.executable) for a in wanted.artifacts
    }
    assert [file.path for file in found.models] == ["models/m.tflite"]
    if delegate is None:
        assert found.delegate is None
    else:
        assert found.delegate is not None
        assert release.delegate_place(found.delegate) == release.delegate_place(delegate)
        assert found.delegate.settings == delegate.settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no JSON"),
        (b"\xff", "no UTF-8"),
        (b"[" * 100_000, "nested too deep"),
        (b" " * (1 << 20) + b"{}", "more than 1 MiB"),
        (b"[]", "no 'edge'"),
        (b'{"edge": 2, "edge": 2}', "a key twice"),
        (a_manifest(edge=True), "no 'edge'"),
        (a_manifest(edge=3), "not of format 2"),
        (a_manifest(more=1), "has not exactly"),
        (a_manifest(arch="absent"), "has not exactly"),
        (a_manifest(arch="a b"), "'arch' is no word"),
        (a_manifest(engine=["tflite"]), "'engine' is no word"),
        (a_manifest(runtime="two\nlines"), "'runtime' is no line"),
        (a_manifest(build=1), "'build' is no table"),
        (a_manifest(files=[]), "'files' is no list"),
        (a_manifest(files={}), "'files' is no list"),
        (a_manifest(files=[1]), "files[0] has not exactly"),
        (a_manifest(file={"path": "../../etc/passwd"}), "files[0].path"),
        (a_manifest(file={"path": "/etc/passwd"}), "files[0].path"),
        (a_manifest(file={"path": "lib/./x"}), "files[0].path"),
        (a_manifest(file={"path": "lib//x"}), "files[0].path"),
        (a_manifest(file={"path": "lib/x\n"}), "files[0].path"),
        (a_manifest(file={"path": "$(reboot)"}), "files[0].path"),
        (a_manifest(file={"path": "x" * 256}), "files[0].path"),
        (a_manifest(file={"path": "/".join(["x"] * 32)}), "files[0].path"),
        (a_manifest(file={"path": "manifest.json"}), "the store's own"),
        (a_manifest(file={"sha256": "A" * 64}), "files[0].sha256"),
        (a_manifest(file={"size_bytes": -1}), "files[0].size_bytes"),
        (a_manifest(file={"size_bytes": 1.5}), "files[0].size_bytes"),
        (a_manifest(file={"size_bytes": True}), "files[0].size_bytes"),
        (a_manifest(file={"executable": 1}), "files[0].executable"),
        (a_manifest(delegate={"path": "../x", "settings": []}), "'delegate.path'"),
        (a_manifest(delegate={"path": "lib/delegate/..", "settings": []}), "'delegate.path'"),
        (a_manifest(delegate={"path": "/x", "settings": [["a"]]}), "'delegate.settings'"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(text: bytes, words: str) -> None:
    with pytest.raises(BoardError) as error:
        release.parse_manifest(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_manifest_names_each_place_once(tmp_path: Path) -> None:
    def entry(path: str) -> dict[str, Any]:
        return {"path": path, "sha256": "a" * 64, "size_bytes": 1, "executable": False}

    for paths in (["lib/x", "lib/x"], ["lib", "lib/x"]):
        with pytest.raises(BoardError, match="'files' has a path twice, a file for a folder"):
            release.parse_manifest(a_manifest(files=[entry(path) for path in paths]))
