import jax.numpy as jnp

from rowlstm_jax.parallel import make_mesh
from rowlstm_jax.runs import console


def test_a_warning_goes_to_standard_error(capsys):
    console.warn("Look here.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: Look here.\n")


def test_the_split_over_devices_is_said_in_a_line(capsys):
    console.show_devices(make_mesh(30), 30, 1)
    console.show_devices(make_mesh(100, 1), 100, 1, asked=True)
    console.show_devices(make_mesh(100, 4, 2), 100, 2)
    assert capsys.readouterr().out.splitlines() == [
        "Batches of 30 on 3 cpu devices, 10 rows each; "
        "1 more stays idle, since parts are equal, and of 10 or more on a CPU.",
        "Batches of 100 on 1 cpu device, 100 rows each; 3 more stay idle, as --devices says.",
        "2 seeds, batches of 100, each over 2 on 4 cpu devices, 50 rows each.",
    ]


def test_tables_show_shapes_and_totals_and_no_markup(capsys, tiny_data):
    console.show_splits(tiny_data)
    console.show_parameters({"readout": {"bias": jnp.zeros((2, 3)), "kernel": jnp.zeros((2, 8, 3))}})
    console.show_table("Names", ("a", "b"), [("[red]x[/]", 12_345)])
    out = capsys.readouterr().out
    for words in ("(41, 5, 7)", "readout/kernel", "(8, 3)", "27", "[red]x[/]", "12,345"):
        assert words in out
