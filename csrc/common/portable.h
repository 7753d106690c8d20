// Marks functions that also run on the device: one body for both, in plain arithmetic.
#pragma once

#ifdef __CUDACC__
#define EFFDL_HOST_DEVICE __host__ __device__
#else
#define EFFDL_HOST_DEVICE
#endif
