// The vector code for AVX-512 processors.
#define ATALLA_WIDTH 16
#define ATALLA_TABLE kAvx512Kernels
#define ATALLA_NAME "avx512"
#include "kernels_vector.inc"
