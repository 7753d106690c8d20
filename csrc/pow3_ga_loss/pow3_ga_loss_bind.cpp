#include "common/ga_loss_bind.h"
#include "pow3_ga_loss/pow3_ga_loss.h"

namespace effdl {

void bind_pow3_ga_loss(pybind11::module_& m) {
#ifdef EFFDL_WITH_CUDA
  ga_loss::bind(m, "pow3_ga_loss", pow3_ga_loss_cpu, pow3_ga_loss_cuda);
#else
  ga_loss::bind(m, "pow3_ga_loss", pow3_ga_loss_cpu, nullptr);
#endif
}

}  // namespace effdl
