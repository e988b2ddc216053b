"""One coverage-guided target, in a process of its own: ``python -m tests.fuzz.guided TARGET SECONDS FOLDER``.

atheris (libFuzzer) keeps what reaches new code. Decoders run in this process, because only then it sees
them; a crash here is a finding only if the program, which decodes in a process apart, fails too.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import atheris

# Instrumented code is slow to import, so only what reads files is.
INSTRUMENTED = [
    "model_core.read",
    "model_core.weights",
    "pydicom.charset",
    "pydicom.dataelem",
    "pydicom.dataset",
    "pydicom.encaps",
    "pydicom.filereader",
    "pydicom.fileutil",
    "pydicom.multival",
    "pydicom.pixels",
    "pydicom.sequence",
    "pydicom.valuerep",
    "pydicom.values",
    "safetensors",
    "zipfile",
]

with atheris.instrument_imports(include=INSTRUMENTED):
    from fuzz.mutate import TOKENS
    from fuzz.targets import TARGETS, open_any
    from model_core.read import archives, sandbox

# Largest file that is tried, in bytes: the seeds have a few kilobytes.
_LONGEST = 65536
_CASE_SECONDS = 60
_MEMORY_MB = 6144


def main() -> None:
    target, seconds, folder = sys.argv[1], int(float(sys.argv[2])), Path(sys.argv[3])
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds, name = TARGETS[target]
    for index, seed in enumerate(seeds()):
        (corpus / f"seed-{index}").write_bytes(seed)
    words = folder / "words"
    quoted = ("".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS)
    words.write_text("".join(f'"{word}"\n' for word in quoted))
    # No reader processes: what they would do is done here.
    sandbox.shared.usable = False
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name

        def one(data: bytes) -> None:
            path.write_bytes(data)
            open_any(target, path)
            archives.remove_all()

        options = {
            "max_total_time": seconds,
            "max_len": _LONGEST,
            "timeout": _CASE_SECONDS,
            "rss_limit_mb": _MEMORY_MB,
            "artifact_prefix": f"{folder}/",
            "dict": words,
            "print_final_stats": 1,
            "verbosity": 1,
        }
        arguments = [f"-{key}={value}" for key, value in options.items()]
        atheris.Setup([sys.argv[0], *arguments, str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
