// RUN: not atalla-opt %s --no-such-option 2>&1 | filecheck %s --check-prefix=OPTION
// RUN: not atalla-opt %s --cse --pass-pipeline='builtin.module(cse)' 2>&1 | filecheck %s --check-prefix=BOTH
// RUN: not atalla-opt %t.nothing 2>&1 | filecheck %s --check-prefix=FILE
// RUN: not atalla-opt %s --load-pass-plugin=no.such.module 2>&1 | filecheck %s --check-prefix=PLUGIN
// RUN: not atalla-opt %s 2>&1 | filecheck %s --check-prefix=DIALECT

// OPTION: atalla-opt: error: no option or pass '--no-such-option'; see atalla-opt --help
// BOTH: atalla-opt: error: unexpected '--cse' beside --pass-pipeline; see atalla-opt --help
// FILE: atalla-opt: error: cannot read '{{.*}}.nothing': No such file or directory
// PLUGIN: atalla-opt: error: cannot load pass plugin 'no.such.module': No module named 'no'
// DIALECT: atalla-opt-usage-invalid.mlir:[[LINE:[0-9]+]]:13: error: operation being parsed with an unregistered dialect
"unknown.op"() : () -> ()
