"""Runs the public test suite of WASI preview1, WebAssembly/wasi-testsuite, on xenolith: docs/wasi.md says how."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def get_name() -> str:
    return "xenolith"


def get_version() -> str:
    return json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["version"]


def get_wasi_versions() -> list[str]:
    return ["wasm32-wasip1"]


def get_wasi_worlds() -> list[str]:
    return ["wasi:cli/command"]


def get_timeout_seconds() -> float:
    """A program is prepared before its first run, and where no host runs, one is started for each."""
    return 60


def compute_argv(test_path, args_env_root, *_) -> list[str]:
    """`root` is the folder that the program has as `/`, or none; of older runners a list of folders, each with its name."""
    args, env, root = args_env_root
    folders = root if isinstance(root, list) else [(root, "/")] if root else []
    argv = [str(ROOT / "bin" / "xl"), "run", "--bare"]
    for name, value in env.items():
        argv += ["-e", f"{name}={value}"]
    for host, guest in folders:
        argv += ["-v", f"{host}:{guest}"]
    return [*argv, str(test_path), *args]
