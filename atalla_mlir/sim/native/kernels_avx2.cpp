// The vector code for AVX2 processors.
#define ATALLA_WIDTH 8
#define ATALLA_TABLE kAvx2Kernels
#define ATALLA_NAME "avx2"
#include "kernels_vector.inc"
