// RUN: not atalla-opt %s --pass-pipeline='builtin.module(cse' 2>&1 | filecheck %s --check-prefix=PAREN
// RUN: not atalla-opt %s --pass-pipeline='builtin.module(cse{a)' 2>&1 | filecheck %s --check-prefix=BRACE
// RUN: not atalla-opt %s --pass-pipeline='builtin.module(cse,)' 2>&1 | filecheck %s --check-prefix=EMPTY
// RUN: not atalla-opt %s --pass-pipeline='builtin.module(cse csf)' 2>&1 | filecheck %s --check-prefix=COMMA
// RUN: not atalla-opt %s --pass-pipeline='builtin.module(func.func(no-such-pass))' 2>&1 | filecheck %s --check-prefix=NAME
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(test-function)' 2>&1 | filecheck %s --check-prefix=ANCHOR
// RUN: not atalla-opt %s --pass-pipeline='builtin.module(func.func(one-shot-bufferize))' 2>&1 | filecheck %s --check-prefix=UPSTREAM
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(test-mark{cout=1})' 2>&1 | filecheck %s --check-prefix=OPTION
// RUN: not atalla-opt %s --load-pass-plugin=atalla_mlir.testing.passes --pass-pipeline='builtin.module(test-mark{count=x})' 2>&1 | filecheck %s --check-prefix=VALUE
// RUN: not atalla-opt %s --pass-pipeline='builtin.module(cse{foo=1})' 2>&1 | filecheck %s --check-prefix=UPSTREAM-OPTION

// Each mistake in the text of a pipeline is told with the place of the mistake, before anything runs.

// PAREN: atalla-opt: error: pass pipeline: no ')' for this '('
// PAREN-NEXT: {{^}}  builtin.module(cse{{$}}
// PAREN-NEXT: {{^}}                ^{{$}}

// BRACE: error: pass pipeline: no '}' for this '{'
// EMPTY: error: pass pipeline: expected the name of a pass or operation
// COMMA: error: pass pipeline: expected ',' or ')'
// NAME: error: pass pipeline: no pass 'no-such-pass'
// NAME-NEXT: builtin.module(func.func(no-such-pass))
// NAME-NEXT: {{^}}                           ^{{$}}
// ANCHOR: error: pass pipeline: pass 'test-function' runs on func.func, not on builtin.module; write func.func(test-function)
// UPSTREAM: error: pass pipeline: pass 'one-shot-bufferize' does not run on func.func
// OPTION: error: pass pipeline: pass 'test-mark' has no option 'cout'; it has count, flag, label, sizes
// VALUE: error: pass pipeline: pass 'test-mark': option 'count': expected an integer, got 'x'
// UPSTREAM-OPTION: error: pass pipeline: pass 'cse': no such option foo
