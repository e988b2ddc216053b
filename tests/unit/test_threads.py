"""OpenMP threads yield while they wait, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from {module} import main
assert "torch" not in sys.modules
try:
    main(["--help"])
except SystemExit:
    pass
sys.stderr.write(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize("module", ["model_core.cli.main", "ctmasknet_gui.__main__"])
@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_programs_set_it_before_torch_is_imported(module, before, after):
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if before is not None:
        environment["OMP_WAIT_POLICY"] = before
    program = [sys.executable, "-c", PROGRAM.format(module=module)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == after
