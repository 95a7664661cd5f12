"""An authority of the check's own and the certificates it issues, by the openssl command."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = "30"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str

    def write(self, stem: Path) -> dict:
        """Puts it into files of that name; the settings that name them."""
        files = {"cert": (f"{stem}.crt", self.certificate), "key": (f"{stem}.key", self.key)}
        for file, text in files.values():
            Path(file).write_text(text, encoding="ascii")
        return {setting: file for setting, (file, _) in files.items()}


class Authority:
    """Signs certificates on P-256, each with a key of its own. Its own certificate is in `file`."""

    def __init__(self, directory: Path):
        self.file = directory / "authority.crt"
        self._key = directory / "authority.key"
        _openssl(
            "req", "-x509", *_new_key(self._key), "-out", str(self.file), "-days", DAYS, "-subj", "/CN=authority",
            "-addext", "keyUsage=critical,keyCertSign",
        )

    def issue(self, host: str, serial: int) -> Pair:
        key = self._key.with_name("issued.key")
        certificate = _openssl(
            "req", "-x509", *_new_key(key), "-CA", str(self.file), "-CAkey", str(self._key), "-days", DAYS,
            "-set_serial", str(serial), "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )
        return Pair(certificate, key.read_text(encoding="ascii"))


def _new_key(file: Path) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(file)]


def _openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr}")
    return done.stdout
