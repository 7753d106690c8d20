// linear_ga_loss over the vector types of one SIMD level; see common/ga_loss_body.inl.
namespace effdl::EFFDL_LEVEL {

struct LinearGaLoss {
  template <class Real>
  static inline Vec eval(Vec x, Vec t, Vec, Vec, const Constants<Real>&, Vec* delta) {
    *delta = sub(x, t);
    return mul(set1(0.5f), mul(*delta, *delta));
  }
};

}  // namespace effdl::EFFDL_LEVEL
