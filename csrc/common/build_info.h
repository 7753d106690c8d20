// What this binary was built with, for `effdl info` and bug reports.
#pragma once
#include <pybind11/pybind11.h>

namespace effdl {

// dict: version, compiler, cuda (bool), cuda_version, cuda_archs (list), simd_levels (list, usable on this CPU).
pybind11::dict build_info();

}  // namespace effdl
