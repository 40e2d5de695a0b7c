"""Before azd packs the app: its Python packages, for where it will run, into `.python_packages`.

Azure can install them as well (`remoteBuild`), and we do not let it:

- Its documentation gives a remote build 60 seconds; these are a hundred packages and more.
- It has built for another Python than the app runs on (Azure/azure-dev issue 8538), and compiled packages fit
  one Python only.
- It knows requirements.txt and not constraints.txt, so the same commit could become two different apps. What
  is packed here is what was tested, and the last good package is the same bytes when it is deployed again.

uv resolves for a machine that is not this one, so this does the same on Linux, macOS and Windows, with any
Python from 3.9 on. Wheels only: nothing of a package is run.

Where this Python is that of the app, the modules are compiled too: the app cannot write where it runs, and
would compile them at every start. That bytecode is valid whatever the times of its sources are, which a zip
file does not keep.
"""

from __future__ import annotations

import argparse
import compileall
import py_compile
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.12"
"""The app's, as infra/modules/app.bicep has it."""
PLATFORM = "x86_64-manylinux_2_28"
"""The oldest C library that every package has wheels for. The app may run on a newer one, not on an older."""
UV = "uv==0.13.8"
PLACE = Path(".python_packages") / "lib" / "site-packages"
"""Where the Functions host looks."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs the app's packages for Azure.")
    parser.add_argument("--python", default=PYTHON, help="the Python that the app runs on")
    parser.add_argument("--target", type=Path, default=ROOT / PLACE, help="the folder, made anew")
    options = parser.parse_args()
    try:
        install(options.python, options.target)
    except subprocess.CalledProcessError as error:
        print(f"The packages were not installed: `{Path(error.cmd[0]).name}` failed.", file=sys.stderr)
        return 1
    compiled = options.python == ".".join(map(str, sys.version_info[:2]))
    if compiled:
        compile_all(options.target)
    else:
        print(f"Not compiled: this Python is not {options.python}, so the app will start more slowly.")
    print(f"Packages for Python {options.python}: {size(options.target) / 1e6:.0f} MB in {options.target}")
    return 0


def install(python: str, target: Path) -> None:
    """Raises CalledProcessError, after the program that failed has said why."""
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip.append("--root-user-action=ignore")
        subprocess.run([*pip, "--target", folder, UV], check=True)
        uv = shutil.which("uv", path=str(Path(folder) / "bin")) or "uv"
        command = [uv, "pip", "install", "--quiet", "--no-config", "--target", str(target)]
        command += ["--python-version", python, "--python-platform", PLATFORM, "--only-binary", ":all:"]
        command += ["-r", str(ROOT / "requirements.txt"), "-c", str(ROOT / "constraints.txt")]
        subprocess.run(command, check=True)
    for left in (".lock", "bin"):  # programs of packages, which nobody calls there
        path = target / left
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def compile_all(target: Path) -> None:
    """A few files are templates, or for other versions: those that are no Python stay as they are."""
    valid = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(str(target), quiet=2, workers=0, invalidation_mode=valid)


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
