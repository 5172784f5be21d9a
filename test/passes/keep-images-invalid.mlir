// RUN: atalla-opt %s --verify-diagnostics --atalla-keep-images='keep=some'

// expected-error@+1 {{keep is 'worth' or 'always', not 'some'}}
module {
}
