import gc

import pytest

from kdopt.cli.process import pause_garbage_collection


def test_garbage_is_collected_again_after_a_large_command_however_it_ends() -> None:
    with pytest.raises(ValueError, match="a fault"), pause_garbage_collection():
        assert not gc.isenabled()
        raise ValueError("a fault")
    assert gc.isenabled()
    gc.disable()
    try:
        with pause_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
