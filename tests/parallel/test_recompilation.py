import logging

import jax
import jax.numpy as jnp
import pytest

from rowlstm_jax.parallel.recompilation import LOGGER, RecompilationError, watch_compilation


def test_compilation_is_an_error_only_after_it_was_forbidden(capfd):
    def a_function_with_a_name(x):
        return x + 3

    function, wider = jax.jit(a_function_with_a_name), jnp.ones(3)
    with watch_compilation() as watch:
        function(jnp.ones(2))
        watch.forbid()
        function(jnp.ones(2))  # is compiled already
        words = r"a_function_with_a_name.* for .*float32\[3\].*; before it was for .*float32\[2\]"
        with pytest.raises(RecompilationError, match=words):
            function(wider)
    assert "Compiling" not in capfd.readouterr().err


def test_jaxs_logger_is_left_as_it_was():
    logger = logging.getLogger(LOGGER)
    before = logger.level, logger.propagate, list(logger.handlers)
    with watch_compilation():
        assert (logger.level, logger.propagate) == (logging.DEBUG, False)
    assert (logger.level, logger.propagate, logger.handlers) == before
