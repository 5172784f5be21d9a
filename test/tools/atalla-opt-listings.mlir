// RUN: atalla-opt --list-passes --load-pass-plugin=atalla_mlir.testing.passes | filecheck %s --check-prefix=PASSES
// RUN: atalla-opt --show-dialects | filecheck %s --check-prefix=DIALECTS
// RUN: atalla-opt --version | filecheck %s --check-prefix=VERSION
// RUN: atalla-opt --help | filecheck %s --check-prefix=HELP

// PASSES: test-mark Put the pass's options as attributes on its operation (on any)
// PASSES-NEXT: count Value of `test.count`. (default 1)
// DIALECTS: Available Dialects: atalla, ax01,
// DIALECTS-SAME: linalg
// DIALECTS-SAME: tm_tensor
// VERSION: atalla-opt {{[0-9]+\.[0-9]+\.[0-9]+}}
// VERSION: torch-mlir
// HELP: usage: atalla-opt
// HELP: exit status: 0 success, 1 the input or a pass failed, 2 wrong usage
