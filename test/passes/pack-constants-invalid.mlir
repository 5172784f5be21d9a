// RUN: not atalla-opt %s --pass-pipeline='builtin.module(atalla-pack-constants)' 2>&1 | filecheck %s

// The pass works on one function at a time.

// CHECK: error: pass pipeline: pass 'atalla-pack-constants' runs on func.func, not on builtin.module; write func.func(atalla-pack-constants)
func.func @nothing() {
  return
}
