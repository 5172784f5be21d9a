// The vector code for portable processors.
#define ATALLA_WIDTH 4
#define ATALLA_TABLE kBaselineKernels
#define ATALLA_NAME "baseline"
#include "kernels_vector.inc"
