import json

import jax

from rowlstm_jax.runs import environment


def test_what_a_result_was_computed_on_is_json_and_names_what_is_missing():
    found = environment.describe((*environment.PACKAGES, "no-such-package"))
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["no-such-package"] is None
    assert found["devices"] == [device.device_kind for device in jax.devices()]
    assert found["cores"] >= 1
    assert found["processor"]
