import jax.numpy as jnp

from rowlstm_jax.parallel import make_mesh
from rowlstm_jax.runs import console


def test_a_warning_goes_to_standard_error(capsys):
    console.warn("Look here.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: Look here.\n")


def test_the_split_over_devices_is_said_in_a_line(capsys):
    console.show_devices(make_mesh(6), 6, 1)
    console.show_devices(make_mesh(100, 1), 100, 1)
    console.show_devices(make_mesh(100, 4, 2), 100, 2)
    assert capsys.readouterr().out.splitlines() == [
        "Batches of 6 on 3 cpu devices; 1 more stays idle.",
        "Batches of 100 on 1 cpu device; 3 more stay idle.",
        "2 seeds, batches of 100, each over 2 on 4 cpu devices.",
    ]


def test_tables_show_shapes_and_totals_and_no_markup(capsys, tiny_data):
    console.show_splits(tiny_data)
    console.show_parameters({"readout": {"bias": jnp.zeros((2, 3)), "kernel": jnp.zeros((2, 8, 3))}})
    console.show_table("Names", ("a", "b"), [("[red]x[/]", 12_345)])
    out = capsys.readouterr().out
    for words in ("(41, 5, 7)", "readout/kernel", "(8, 3)", "27", "[red]x[/]", "12,345"):
        assert words in out
