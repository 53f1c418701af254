"""Rules of the repository that can be checked automatically. Import contracts are in pyproject.toml."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["core", "sim", "teachers", "distill", "deploy"]
# Modules of deploy that may import torch and core; the others run on the robot.
EXPORT_ONLY = "export"
# Names of our tasks' modalities in code and in the program's texts. Docstrings and comments may contain them.
OF_A_MODALITY = re.compile(
    r"""^(path|PATH|GOAL|STEERING)$ | \bpath_(w|clock|follow\w*|speed|turn_rate|termination\w*)\b | \bPath(Command|Clock|Params)\b
    | \b(goal|steering)(s|_\w+)?\b | \b(Goal|Steering)(Command|Params)?\b""",
    re.VERBOSE,
)
# Files that may name them, besides those in `tasks/` and `commands/`. A new modality is a file there and a line in the registry.
NAME_MODALITIES = {
    "sim/tasks/registry.py",
    "sim/motion_commands.py", "sim/motions/catalog.py", "core/runs/manifest.py",  # "path": where a file is
    "distill/cli.py",  # the option --path-clock
    "deploy/commands/registry.py",
    "deploy/interface.py",  # a `Command` has a field for each of their inputs
    "deploy/policy/rules.py", "deploy/export/export.py",  # `path_times`, a key of policy.json
}  # fmt: skip
OWN = re.compile(r"(sim/tasks|deploy/commands)/(path|path_clock|goal|steering)\.py")


def tracked(*patterns: str) -> list[Path]:
    """Files of the repository, including untracked ones."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [ROOT / line for line in listed.stdout.splitlines()]
    return [file for file in files if file.is_file()]


def imports(file: Path) -> set[str]:
    """Absolute names of all modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def words(file: Path) -> set[str]:
    """Names and strings in a file's code, without docstrings. A variable named `path` is a file's path and is ignored."""
    tree = ast.parse(file.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found.add(node.value)
        elif isinstance(node, ast.alias):
            found |= set(node.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            found |= set((node.module or "").split("."))
        else:
            found |= {getattr(node, key, None) or "" for key in ("id", "attr", "arg", "name")} - {"path"}
    return found


def module_name(file: Path) -> str:
    return ".".join(file.with_suffix("").parts[file.parts.index("src") + 1 :]).removesuffix(".__init__")


@cache
def import_graph() -> dict[str, set[str]]:
    """For each module of packages/, the modules that it imports anywhere, also in functions and under TYPE_CHECKING."""
    files = {module_name(file): file for package in PACKAGES for file in package_files(package)}
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & files.keys()
            elif isinstance(node, ast.ImportFrom):
                package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
                start = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*start, *([node.module] if node.module else [])])
                named = {f"{source}.{alias.name}" for alias in node.names}
                graph[name] |= (named & files.keys()) or ({source} & files.keys())
    return {name: imported - {name} for name, imported in graph.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Nodes of a graph on a cycle or between two: nodes without outgoing or incoming edges are removed repeatedly."""
    left = dict(graph)
    while True:
        led_to = set().union(*left.values())
        rest = {node: after & left.keys() for node, after in left.items() if after & left.keys() and node in led_to}
        if rest == left:
            return sorted(rest)
        left = rest


def package_files(package: str) -> list[Path]:
    return tracked(f"packages/{package}/src/*.py")


def test_the_import_contracts_hold() -> None:
    # In a separate process, because it disables loggers.
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_no_modules_import_each_other_in_circles() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == ["b", "c"]
    assert not circles(import_graph())


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folders_import_each_other_in_circles(package: str) -> None:
    """Subfolders of a package must not form import cycles; a module outside of them counts as a folder."""
    graph: dict[str, set[str]] = {}
    for name, imported in import_graph().items():
        folder = ".".join(name.split(".")[:3])
        graph.setdefault(folder, set()).update(".".join(x.split(".")[:3]) for x in imported)
    inside = {folder for folder in graph if folder.split(".")[1] == package}
    assert len(inside) > 1
    assert not circles({folder: graph[folder] & inside - {folder} for folder in inside})


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_declares_what_it_imports(package: str) -> None:
    project = tomllib.loads((ROOT / f"packages/{package}/pyproject.toml").read_text())["project"]
    wanted = chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
    declared = {re.split(r"[\[<>=! ]", name)[0] for name in wanted}
    used = {
        "protege-" + name.split(".")[1] for f in package_files(package) for name in imports(f) if name[:8] == "protege."
    }
    assert used <= declared | {f"protege-{package}"}


def test_no_package_owns_the_namespace() -> None:
    assert not tracked("packages/*/src/protege/__init__.py")


def test_the_runtime_imports_no_torch() -> None:
    files = [file for file in package_files("deploy") if file.parent.name != EXPORT_ONLY]
    assert len(files) > 2
    for file in files:
        assert not {name.split(".")[0] for name in imports(file)} & {"torch", "onnx", "onnxscript"}, file
        assert not any(name.startswith("protege.core") for name in imports(file)), file


def test_the_clips_format_is_written_once() -> None:
    """Deploy does not import core, so it has links to the files that only need numpy. Wheels contain their contents."""
    deploy, core = ROOT / "packages/deploy/src/protege/deploy/motions", ROOT / "packages/core/src/protege/core/motions"
    links = {file.name: file.readlink() for file in deploy.rglob("*.py") if file.is_symlink()}
    assert sorted(links) == ["clip_file.py", "clip_paths.py", "file_kinds.py", "plausibility.py", "poses.py"]
    for name, link in links.items():
        assert not link.is_absolute() and (deploy / name).resolve() == (core / name).resolve()


def test_files_stay_short() -> None:
    written = [
        file for file in tracked("*.py", "*.md", "*.yaml", "*.toml") if "zoo_data" not in file.parts
    ]  # by people
    lengths = {file: len(file.read_text().splitlines()) for file in written}
    assert not {file: length for file, length in lengths.items() if length > 500}
    too_long = {
        f: n for f, n in lengths.items() if f.is_relative_to(ROOT / "packages") and f.suffix == ".py" and n > 400
    }
    assert not too_long


def test_the_repository_stays_small() -> None:
    # A link counts as the link that git stores, not as the file that it names.
    assert sum(file.lstat().st_size for file in tracked()) < 20e6


def test_no_file_names_a_package_index() -> None:
    hosts = re.compile(rb"pypi\.|pythonhosted|download\.pytorch|pypi\.nvidia|simple/?\"|index-url")
    offenders = [file for file in tracked() if file != Path(__file__) and hosts.search(file.read_bytes())]
    assert not offenders


def test_no_pickles() -> None:
    for file in tracked("packages/*.py", "tests/*.py", "scripts/*.py"):
        pickles = {name for name in imports(file) if name.split(".")[0] in ("pickle", "dill", "cloudpickle", "joblib")}
        assert pickles <= {"pickle", "pickle.UnpicklingError"}, file  # an exception of torch
        assert not re.search(r"^\s*import pickle", file.read_text(), re.MULTILINE), file
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert keywords.get("allow_pickle", "False") == "False", file
            if ast.unparse(call.func) == "torch.load":
                assert keywords.get("weights_only") == "True", file


def test_no_blanket_handlers_and_no_leftovers() -> None:
    leftovers = re.compile(r"except Exception|NotImplementedError|\bTODO\b|\bFIXME\b|_target_")
    offenders = [
        f for f in tracked("packages/*.py", "packages/*.yaml", "scripts/*.py") if leftovers.search(f.read_text())
    ]
    assert not offenders


def test_few_files_name_a_modality() -> None:
    """The files are listed; in any other file the name must be derived from the registry."""
    named = {}
    for package in PACKAGES:
        for file in package_files(package):
            if found := {word for word in words(file) if OF_A_MODALITY.search(word)}:
                named[file.relative_to(ROOT / f"packages/{package}/src/protege").as_posix()] = found
    others = {file: found for file, found in named.items() if not OWN.fullmatch(file)}
    assert others.keys() == NAME_MODALITIES, {file: others[file] for file in others.keys() - NAME_MODALITIES}
    assert {file for file in named if OWN.fullmatch(file)} >= {
        f"{folder}/{name}.py" for folder in ("sim/tasks", "deploy/commands") for name in ("path", "goal", "steering")
    }


def test_names_of_modalities_are_found(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text(
        '"""Says goal."""\nfrom .goal import x\nimport a.steering\n'
        'def f(path, goal_w): return path.y, f"go to {path}", steer("path"), P.PathCommand  # goal\n'
    )
    found = {word for word in words(file) if OF_A_MODALITY.search(word)}
    assert found == {"goal", "steering", "goal_w", "path", "PathCommand"}
    ways = ("a path of goals", "path_times", "file_path", "goalkeeper", "steer", "[KEY.PATH=VALUE]")
    assert [word for word in ways if OF_A_MODALITY.search(word)] == ["a path of goals"]
