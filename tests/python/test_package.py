"""The Python package without its program: what it finds, says and shows. `python3 -m unittest discover tests/python`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest
import zipfile
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "python"))

import cudashim  # noqa: E402
from cudashim import _binary, _hook, _preload, _report  # noqa: E402


def program(directory: str, script: str) -> str:
    """A program that stands in for the binary."""
    path = Path(directory, "cudashim")
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(0o755)
    return str(path)


class Import(unittest.TestCase):
    def test_it_brings_nothing_along(self) -> None:
        code = "import sys; before = set(sys.modules); import cudashim; print(sorted(set(sys.modules) - before))"
        said = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(ROOT / "python")}, capture_output=True, text=True)
        self.assertEqual(said.stdout.strip(), "['cudashim']", said.stderr)

    def test_every_name_is_there(self) -> None:
        for name in cudashim.__all__:
            self.assertIsNotNone(getattr(cudashim, name))
        with self.assertRaises(AttributeError):
            cudashim.no_such_name  # noqa: B018
        self.assertTrue((ROOT / "python/cudashim/py.typed").is_file())

    def test_its_version_is_that_of_the_program(self) -> None:
        line = next(line for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version"))
        self.assertEqual(line, f'version = "{cudashim.__version__}"')


class Find(unittest.TestCase):
    def test_it_is_found_where_installers_put_it(self) -> None:
        for site in ("target", "prefix/lib/python3.12/site-packages", "prefix/local/lib/python3.11/dist-packages"):
            with tempfile.TemporaryDirectory() as root:
                package = Path(root, site, "cudashim")
                package.mkdir(parents=True)
                above = package.parents[3] if "prefix" in site else package.parent
                (above / "bin").mkdir()
                path = program(str(above / "bin"), "exit 0")
                with mock.patch.object(_binary, "__file__", str(package / "_binary.py")):
                    self.assertEqual(_binary.find(), path)

    def test_what_is_nowhere_is_said_to_be(self) -> None:
        with tempfile.TemporaryDirectory() as root, mock.patch.object(_binary, "_directories", lambda: [root]):
            with self.assertRaisesRegex(cudashim.NotFound, "cannot find `cudashim` in `"):
                _binary.find()


class Answers(unittest.TestCase):
    def test_an_answer_is_read(self) -> None:
        answer = _hook.Answer([b"open", b"liba.so.1", b"/a b/\xff", b"note", b"x", b"restart", b"why", b"variable", b"A", b"1", b"end"])
        self.assertEqual(answer.opens, [(b"liba.so.1", b"/a b/\xff")])
        self.assertEqual((answer.notes, answer.why, answer.variables), (["x"], "why", [(b"A", b"1")]))

    def test_what_is_cut_or_unknown_is_a_fault(self) -> None:
        for fields in ([], [b"open"], [b"open", b"a"], [b"fault", b"no"], [b"other", b"end"]):
            with self.assertRaises(_hook.Fault):
                _hook.Answer(fields)

    def test_a_program_that_does_not_answer_is_given_up(self) -> None:
        with tempfile.TemporaryDirectory() as root, mock.patch.object(_hook, "SECONDS", 0.2):
            path = program(root, "exec sleep 60")
            with self.assertRaisesRegex(_hook.Fault, "did not answer"):
                _hook.ask(path, "torch", {b"PATH": b"/usr/bin:/bin"})

    def test_a_process_without_standard_descriptors_can_ask(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            path = program(root, r"printf 'note\0x\0end\0'")
            code = f"import os; [os.close(n) for n in (0, 1)]; from cudashim import _hook; a = _hook.ask({path!r}, 'torch', {{}}); os.write(2, a.notes[0].encode())"
            said = subprocess.run([sys.executable, "-B", "-c", code], env={"PYTHONPATH": str(ROOT / "python")}, capture_output=True, text=True)
            self.assertEqual(said.stderr, "x")


class Preload(unittest.TestCase):
    def asked(self, script: str) -> cudashim.Preloaded:
        with tempfile.TemporaryDirectory() as root, mock.patch.object(_preload, "find", lambda: program(root, script)):
            with mock.patch.dict(os.environ), mock.patch.object(_hook, "is_served", lambda environment: False):
                return cudashim.preload()

    def test_nothing_to_do(self) -> None:
        done = self.asked(r"printf 'end\0'")
        self.assertTrue(done)
        self.assertIn("nothing to do", str(done))
        self.assertIn("✓", done._repr_html_())

    def test_what_only_the_shim_serves_is_advised(self) -> None:
        done = self.asked(r"printf 'restart\0x is loaded\0end\0'")
        self.assertFalse(done)
        self.assertIn("cudashim run", str(done))

    def test_a_fault_is_advice_and_no_error(self) -> None:
        done = self.asked(r"printf 'fault\0no set <fits>\0end\0'")
        self.assertFalse(done)
        self.assertIn("no set &lt;fits&gt;", done._repr_html_())

    def test_a_file_that_cannot_be_opened_is_named(self) -> None:
        done = self.asked(r"printf 'open\0libno.so.1\0/no/such/libno.so.1\0end\0'")
        self.assertIn("cannot open `/no/such/libno.so.1`", str(done))


class Reports(unittest.TestCase):
    def test_a_report_is_data_and_text_and_html(self) -> None:
        script = r"""
        case "$*" in
            *json*) echo '{"schema": 1, "findings": [{"id": "a-b", "severity": "fatal", "cause": "<x>", "remedies": [{"command": "pip install y"}]}]}'; exit 1 ;;
            *) echo 'a-b: x'; exit 1 ;;
        esac
        """
        with tempfile.TemporaryDirectory() as root, mock.patch.object(_report, "find", lambda: program(root, script)):
            report = cudashim.doctor()
            self.assertFalse(cudashim.check("torch"))
        self.assertEqual((bool(report), report.code, repr(report)), (False, 1, "a-b: x"))
        self.assertEqual(report.findings[0]["id"], "a-b")
        self.assertIn("&lt;x&gt;", report._repr_html_())
        self.assertIn("pip install y", report._repr_html_())

    def test_what_could_not_be_done_is_an_error(self) -> None:
        script = "echo 'error: no' >&2; exit 2"
        with tempfile.TemporaryDirectory() as root, mock.patch.object(_report, "find", lambda: program(root, script)):
            with self.assertRaisesRegex(cudashim.Failed, "error: no"):
                cudashim.doctor()


class Wheel(unittest.TestCase):
    """The backend that builds the wheel; without maturin, its own part of the work."""

    def backend(self):
        spec = importlib.util.spec_from_file_location("backend", ROOT / "build/backend.py")
        module = importlib.util.module_from_spec(spec)
        stand_in = mock.MagicMock(__all__=["build_wheel"])
        with mock.patch.dict(sys.modules, {"maturin": stand_in}):
            spec.loader.exec_module(module)
        return module

    def wheel(self, directory: str, files: dict[str, bytes]) -> Path:
        path = Path(directory, "x-1-py3-none-linux_x86_64.whl")
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**files, "x-1.dist-info/WHEEL": b"Tag: py3-none-linux_x86_64\n", "x-1.dist-info/RECORD": b""}.items():
                archive.writestr(name, data)
        return path

    def test_a_program_that_needs_a_library_ends_the_build(self) -> None:
        dynamic = Path("/bin/sh").read_bytes()
        self.assertTrue(any(name.startswith("libc.") for name in self.backend().needed(dynamic)))
        with tempfile.TemporaryDirectory() as root, self.assertRaisesRegex(SystemExit, "libc.so"):
            self.backend().finish(self.wheel(root, {"x-1.data/scripts/x": dynamic}))

    def test_a_hook_ends_the_build(self) -> None:
        for name in ("cudashim.pth", "cudashim.start"):
            with tempfile.TemporaryDirectory() as root, self.assertRaisesRegex(SystemExit, "every start"):
                self.backend().finish(self.wheel(root, {name: b"import x"}))


if __name__ == "__main__":
    unittest.main()
