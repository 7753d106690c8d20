#include "common/ga_loss_bind.h"
#include "exp_ga_loss/exp_ga_loss.h"

namespace effdl {

void bind_exp_ga_loss(pybind11::module_& m) {
#ifdef EFFDL_WITH_CUDA
  ga_loss::bind(m, "exp_ga_loss", exp_ga_loss_cpu, exp_ga_loss_cuda);
#else
  ga_loss::bind(m, "exp_ga_loss", exp_ga_loss_cpu, nullptr);
#endif
}

}  // namespace effdl
