#include "common/ga_loss_bind.h"
#include "linear_ga_loss/linear_ga_loss.h"

namespace effdl {

void bind_linear_ga_loss(pybind11::module_& m) {
#ifdef EFFDL_WITH_CUDA
  ga_loss::bind(m, "linear_ga_loss", linear_ga_loss_cpu, linear_ga_loss_cuda);
#else
  ga_loss::bind(m, "linear_ga_loss", linear_ga_loss_cpu, nullptr);
#endif
}

}  // namespace effdl
