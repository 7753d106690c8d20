// Argument checks shared by the bindings of the GA losses: Python handles in, a valid ga_loss::Problem out.
#pragma once
#include "common/ga_loss_cpu.h"

namespace pybind11 {
class module_;  // including all of pybind11 in every <op>_bind.cpp would triple its compile time
}

namespace effdl::ga_loss {

using CpuFn = Outcome (*)(const Problem&);
using CudaFn = void (*)(const Problem&, int device, void* stream);

// Defines m.<op>(...), the raw form of the op: outputs are given, nothing is allocated, the dispatcher is not involved.
void bind(pybind11::module_& m, const char* op, CpuFn cpu, CudaFn cuda);

}  // namespace effdl::ga_loss
