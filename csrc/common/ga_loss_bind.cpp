#include "common/ga_loss_bind.h"

#include <cmath>
#include <string>

#ifdef EFFDL_WITH_CUDA
#include "common/ga_loss_cuda.h"
#endif
#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl::ga_loss {
namespace {

// Collects the checks of one call; every message starts with the op and names the argument.
struct Checker {
  const char* op;

  [[noreturn]] void value(const std::string& message) const { fail_value(op, message); }
  [[noreturn]] void type(const std::string& message) const { fail_type(op, message); }

  double number(py::handle h, const char* arg) const {
    if (!PyFloat_CheckExact(h.ptr()) && !PyLong_Check(h.ptr()) && PyObject_HasAttrString(h.ptr(), "requires_grad")) {
      type(std::string(arg) + " must be a number, got a tensor");
    }
    const double d = PyFloat_AsDouble(h.ptr());
    if (d == -1.0 && PyErr_Occurred()) {
      PyErr_Clear();
      type(std::string(arg) + " must be a number, got " + Py_TYPE(h.ptr())->tp_name);
    }
    if (!std::isfinite(d)) value(std::string(arg) + " must be finite, got " + std::to_string(d));
    return d;
  }

  int64_t integer(py::handle h, const char* arg) const {
    if (!PyLong_Check(h.ptr())) type(std::string(arg) + " must be an integer, got " + Py_TYPE(h.ptr())->tp_name);
    int overflow = 0;
    const long long i = PyLong_AsLongLongAndOverflow(h.ptr(), &overflow);
    if (overflow != 0) value(std::string(arg) + " must fit 64 bits");
    return i;
  }

  // Strides of (n, classes, inner) of a tensor shaped (C,), (N, C) or (N, C, S).
  Strides logits_strides(const TensorView& t) const {
    if (t.ndim == 1) return {0, t.strides[0], 0};
    return {t.strides[0], t.strides[1], t.ndim == 3 ? t.strides[2] : 0};
  }

  void logits(const TensorView& x, Problem* p) const {
    if (!is_floating(x.dtype)) type("logits must be float32, float64, float16 or bfloat16, got " + describe(x));
    if (x.ndim < 1 || x.ndim > 3) value("logits must be (C,), (N, C) or (N, C, d1, ...), got " + describe(x));
    p->dtype = x.dtype;
    p->n = x.ndim == 1 ? 1 : x.shape[0];
    p->classes = x.shape[x.ndim == 1 ? 0 : 1];
    p->inner = x.ndim == 3 ? x.shape[2] : 1;
    if (p->classes < 1) value("logits must have at least one class, got " + describe(x));
    if (p->classes > INT32_MAX) value("logits must have fewer than 2^31 classes, got " + describe(x));
    p->logits = x.data;
    p->logits_strides = logits_strides(x);
  }

  void target(const TensorView& x, py::handle h, Problem* p) const {
    const TensorView t = view(h, op, "target");
    check_same_device(t, x, op, "target", "logits");
    if (is_floating(t.dtype)) {
      if (t.dtype != x.dtype)
        type("a dense target must have the dtype of logits, got " + describe(t) + " and " + describe(x));
      bool same = t.ndim == x.ndim;
      for (int i = 0; same && i < x.ndim; ++i) same = t.shape[i] == x.shape[i];
      if (!same) value("a dense target must have the shape of logits, got " + describe(t) + " and " + describe(x));
      if (p->class_start != 0 || p->class_total != p->classes)
        value("dense targets cannot be combined with a class range");
      p->dense = t.data;
      p->dense_strides = logits_strides(t);
      return;
    }
    if (t.dtype != Dtype::i64)
      type("target must be int64 class indices or a dense floating-point tensor, got " + describe(t));
    const bool ok = x.ndim == 1 ? t.has_shape({}) : x.ndim == 2 ? t.has_shape({p->n}) : t.has_shape({p->n, p->inner});
    if (!ok) {
      value(
          "target must hold one class index per sample, shape (N,) or (N, d1, ...), for logits (N, C) or (N, C, d1, "
          "...): got " +
          describe(t) + " and " + describe(x));
    }
    p->target = static_cast<const int64_t*>(t.data);
    p->target_strides = {t.ndim > 0 ? t.strides[0] : 0, 0, t.ndim == 2 ? t.strides[1] : 0};
    static const int64_t empty = 0;  // an empty tensor has no memory; null means "dense" here
    if (p->target == nullptr) p->target = &empty;
  }

  void alpha(const TensorView& x, py::handle h, Problem* p) const {
    if (PyFloat_Check(h.ptr()) || PyLong_Check(h.ptr())) {
      p->alpha.scalar = number(h, "alpha");
      if (p->alpha.scalar <= 0.0) value("alpha must be positive, got " + std::to_string(p->alpha.scalar));
      return;
    }
    const TensorView a = view(h, op, "alpha");
    check_same_device(a, x, op, "alpha", "logits");
    if (a.dtype != Dtype::f32 && a.dtype != Dtype::f64) type("alpha must be float32 or float64, got " + describe(a));
    static const double one = 1.0;
    p->alpha.data = a.data != nullptr ? a.data : &one;
    p->alpha.dtype = a.dtype;
    const bool per_class = a.ndim == 1 && a.shape[0] == p->classes;
    const bool per_sample = a.ndim == 1 && x.ndim > 1 && a.shape[0] == p->n;
    if (a.ndim == 0) {
      p->alpha.strides = {};
    } else if (per_class && per_sample && p->n > 1) {
      value("alpha of shape " + shape_string(a) + " could be per class or per sample for logits " + shape_string(x) +
            ": give it as (1, C) or (N, 1)");
    } else if (per_class) {
      p->alpha.strides = {0, a.strides[0], 0};
    } else if (per_sample) {
      p->alpha.strides = {a.strides[0], 0, 0};
    } else if (a.ndim == x.ndim) {
      broadcast_alpha(a, x, p);
    } else if (x.ndim == 3 && a.has_shape({p->n, p->inner})) {
      p->alpha.strides = {a.strides[0], 0, a.strides[1]};
    } else {
      bad_alpha_shape(a, x);
    }
  }

  [[noreturn]] void bad_alpha_shape(const TensorView& a, const TensorView& x) const {
    value("alpha must be a number or a tensor per class (C,) or per sample (N,) or (N, d1, ...), got " + describe(a) +
          " for logits " + shape_string(x));
  }

  void broadcast_alpha(const TensorView& a, const TensorView& x, Problem* p) const {
    int64_t s[3] = {0, 0, 0};
    for (int i = 0; i < a.ndim; ++i) {
      if (a.shape[i] != 1 && a.shape[i] != x.shape[i]) bad_alpha_shape(a, x);
      s[i] = a.shape[i] == 1 ? 0 : a.strides[i];
    }
    if (s[1] != 0 && (s[0] != 0 || s[2] != 0))
      value("alpha varies per class or per sample, not both: got " + describe(a));
    p->alpha.strides = {s[0], s[1], s[2]};
  }

  void weight(const TensorView& x, py::handle h, Problem* p) const {
    if (h.is_none()) return;
    const TensorView w = view(h, op, "weight");
    check_same_device(w, x, op, "weight", "logits");
    if (w.dtype != Dtype::f32 && w.dtype != Dtype::f64) type("weight must be float32 or float64, got " + describe(w));
    if (!w.has_shape({p->class_total})) {
      value("weight must hold one number per class, shape (" + std::to_string(p->class_total) + ",), got " +
            describe(w));
    }
    p->weight = w.data;
    p->weight_dtype = w.dtype;
    p->weight_stride = w.strides[0];
  }

  void outputs(const TensorView& x, py::handle loss, py::handle grad, py::handle norm, Problem* p) const {
    const TensorView l = fresh_view(loss, op, "loss");
    check_same_device(l, x, op, "loss", "logits");
    const int64_t count = p->reduction == Reduction::none ? p->n * p->inner : 1;
    if (l.dtype != x.dtype && l.dtype != Dtype::f32)
      type("loss must have the dtype of logits or float32, got " + describe(l));
    if (l.numel() != count) value("loss has the wrong size: got " + describe(l));
    int64_t expected = 1;
    for (int i = l.ndim - 1; i >= 0 && count > 0; expected *= l.shape[i--]) {
      if (l.shape[i] > 1 && l.strides[i] != expected) value("loss must be contiguous");
    }
    p->loss = l.data;
    p->loss_dtype = l.dtype;
    if (!grad.is_none()) gradient(x, view(grad, op, "grad"), p);
    if (!norm.is_none()) {
      const TensorView d = fresh_view(norm, op, "norm");
      check_same_device(d, x, op, "norm", "logits");
      if (d.dtype != Dtype::f32 || d.numel() != 1) type("norm must be one float32, got " + describe(d));
      p->deferred_norm = static_cast<float*>(d.data);
    }
  }

  void gradient(const TensorView& x, const TensorView& g, Problem* p) const {
    check_same_device(g, x, op, "grad", "logits");
    if (g.dtype != x.dtype || g.ndim != x.ndim) type("grad must match logits, got " + describe(g));
    for (int i = 0; i < x.ndim; ++i) {
      if (g.shape[i] != x.shape[i]) value("grad must have the shape of logits, got " + describe(g));
      if (g.shape[i] > 1 && g.strides[i] == 0)
        value("inplace needs logits whose elements do not share memory, got an expanded tensor");
    }
    p->grad = g.data;
    p->grad_strides = logits_strides(g);
  }
};

struct Bound {
  const char* op;
  CpuFn cpu;
  CudaFn cuda;

  void operator()(py::handle logits, py::handle target, py::handle loss, py::handle grad, py::handle norm,
                  py::handle workspace, py::handle alpha, py::handle beta, py::handle clamp, py::handle target_value,
                  py::handle negative_value, py::handle weight, py::handle ignore_index, int reduction,
                  int64_t class_start, int64_t class_total) const {
    const Checker check{op};
    Problem p;
    const TensorView x = view(logits, op, "logits");
    check.logits(x, &p);
    if (reduction < 0 || reduction > 2) check.value("reduction must be 0 (none), 1 (mean) or 2 (sum)");
    p.reduction = static_cast<Reduction>(reduction);
    p.class_start = class_start;
    p.class_total = class_total < 0 ? p.classes : class_total;
    p.ignore_index = check.integer(ignore_index, "ignore_index");
    p.target_value = check.number(target_value, "target_value");
    p.negative_value = check.number(negative_value, "negative_value");
    if (!beta.is_none()) p.beta = check.number(beta, "beta");
    if (!clamp.is_none()) {
      p.clamp = check.number(clamp, "clamp");
      p.has_clamp = true;
    }
    check.target(x, target, &p);
    if (!alpha.is_none()) check.alpha(x, alpha, &p);
    check.weight(x, weight, &p);
    check.outputs(x, loss, grad, norm, &p);
    if (x.is_cuda()) return run_cuda(check, x, workspace, &p);
    Outcome outcome;
    {
      py::gil_scoped_release release;
      outcome = cpu(p);
    }
    if (outcome.bad_alpha >= 0) {
      check.value("alpha must be positive and finite: element " + std::to_string(outcome.bad_alpha) + " is not");
    }
    if (outcome.bad_target >= 0) report_target(check, p, outcome.bad_target);
  }

  [[noreturn]] void report_target(const Checker& check, const Problem& p, int64_t row) const {
    const int64_t i = row / p.inner, s = row % p.inner;
    const int64_t t = p.target[i * p.target_strides.n + s * p.target_strides.s];
    check.value("target at position " + std::to_string(row) + " is " + std::to_string(t) + ", outside [0, " +
                std::to_string(p.class_total) + ") and not ignore_index (" + std::to_string(p.ignore_index) + ")");
  }

  void run_cuda(const Checker& check, const TensorView& x, py::handle workspace, Problem* p) const {
#ifdef EFFDL_WITH_CUDA
    const TensorView w = fresh_view(workspace, op, "workspace");
    check_same_device(w, x, op, "workspace", "logits");
    if (w.numel() * dtype_size(w.dtype) < workspace_bytes(*p)) check.value("workspace is too small");
    p->workspace = w.data;
    void* stream = current_stream(x);
    py::gil_scoped_release release;
    cuda(*p, x.device.id, stream);
#else
    (void)x, (void)workspace, (void)p;
    check.value("logits are on a CUDA device, but this build of effdl_fast has no CUDA kernels (see effdl info)");
#endif
  }
};

}  // namespace

void bind(py::module_& m, const char* op, CpuFn cpu, CudaFn cuda) {
  m.def(op, Bound{op, cpu, cuda}, py::arg("logits"), py::arg("target"), py::arg("loss"), py::arg("grad"),
        py::arg("norm"), py::arg("workspace"), py::arg("alpha"), py::arg("beta"), py::arg("clamp"),
        py::arg("target_value"), py::arg("negative_value"), py::arg("weight"), py::arg("ignore_index"),
        py::arg("reduction"), py::arg("class_start"), py::arg("class_total"));
}

}  // namespace effdl::ga_loss
