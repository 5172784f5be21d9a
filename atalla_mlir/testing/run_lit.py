"""`python -m atalla_mlir.testing.run_lit ARGS` is `lit ARGS`, which `python -m lit.main` is not: it runs nothing."""

from __future__ import annotations

from lit.main import main

if __name__ == "__main__":
    main()
