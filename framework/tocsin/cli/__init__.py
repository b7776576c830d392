"""The command `tocsin`: one file a verb family, imported only when that verb runs."""
