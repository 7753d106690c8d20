// tanh, sigmoid and exp - 1 for vectors of floats and doubles, included once per SIMD level by simd_real_<level>.h.
// Their errors are measured in tests/ops/test_layer_moments.py.
namespace effdl::EFFDL_SIMD_NAMESPACE {

// exp(z) - 1 as p * s + (s - 1) with s = 2^n: Cody-Waite reduction by ln 2 in two parts, the series of exp(r) - 1 on
// [-ln2/2, ln2/2]. z within the bounds that power_of_two sets to n.
static inline void expm1_parts(Vec z, Vec* p, Vec* s) {
  const Vec n = round_nearest(mul(z, splat(1.44269504088896341f)));
  Vec r = fnmadd(n, splat(0.693145751953125f), z);  // 15 significant bits: n * ln2_hi is exact
  r = fnmadd(n, splat(1.42860682030941723212e-6f), r);
  Vec q = splat(1.9841269841e-4f);
  q = fmadd(q, r, splat(1.3888888889e-3f));
  q = fmadd(q, r, splat(8.3333333333e-3f));
  q = fmadd(q, r, splat(4.1666666667e-2f));
  q = fmadd(q, r, splat(1.6666666667e-1f));
  q = fmadd(q, r, splat(0.5f));
  *p = fmadd(q, mul(r, r), r);
  *s = power_of_two(n);
}
static inline void expm1_parts(Wide z, Wide* p, Wide* s) {
  const Wide n = round_nearest(mul(z, splat(1.44269504088896340736)));
  Wide r = fnmadd(n, splat(6.93147180369123816490e-01), z);  // 33 significant bits
  r = fnmadd(n, splat(1.90821492927058770002e-10), r);
  Wide q = splat(1.0 / 6227020800.0);
  q = fmadd(q, r, splat(1.0 / 479001600.0));
  q = fmadd(q, r, splat(1.0 / 39916800.0));
  q = fmadd(q, r, splat(1.0 / 3628800.0));
  q = fmadd(q, r, splat(1.0 / 362880.0));
  q = fmadd(q, r, splat(1.0 / 40320.0));
  q = fmadd(q, r, splat(1.0 / 5040.0));
  q = fmadd(q, r, splat(1.0 / 720.0));
  q = fmadd(q, r, splat(1.0 / 120.0));
  q = fmadd(q, r, splat(1.0 / 24.0));
  q = fmadd(q, r, splat(1.0 / 6.0));
  q = fmadd(q, r, splat(0.5));
  *p = fmadd(q, mul(r, r), r);
  *s = power_of_two(n);
}

template <class V>
static inline V expm1_bounded(V z, V one) {
  V p, s;
  expm1_parts(z, &p, &s);
  return fmadd(p, s, sub(s, one));
}

// exp(a) - 1 where a <= 0; anything but NaN elsewhere. It is -1 below the bound.
static inline Vec expm1_negative(Vec a) {
  return expm1_bounded(min_keep_nan(max_keep_nan(a, splat(-40.0f)), splat(0.0f)), splat(1.0f));
}
static inline Wide expm1_negative(Wide a) {
  return expm1_bounded(min_keep_nan(max_keep_nan(a, splat(-60.0)), splat(0.0)), splat(1.0));
}

// tanh(x) = e / (e + 2) with e = exp(2x) - 1, of |x|; it is 1 above the bound.
static inline Vec tanh_plain(Vec a) {
  const Vec e = expm1_bounded(min_keep_nan(mul(magnitude(a), splat(2.0f)), splat(40.0f)), splat(1.0f));
  return with_sign_of(quotient(e, add(e, splat(2.0f))), a);
}
static inline Wide tanh_plain(Wide a) {
  const Wide e = expm1_bounded(min_keep_nan(mul(magnitude(a), splat(2.0)), splat(80.0)), splat(1.0));
  return with_sign_of(quotient(e, add(e, splat(2.0))), a);
}

// 1 / (1 + exp(-a)), from exp(-|a|): what falls below the normal range of the exponential is 0.
static inline Vec sigmoid(Vec a) {
  const Vec m = magnitude(a);
  Vec p, s;
  expm1_parts(sub(splat(0.0f), min_keep_nan(m, splat(87.0f))), &p, &s);
  const Vec e = select(greater(m, splat(87.0f)), exp_plain(sub(splat(0.0f), m)), fmadd(p, s, s));
  return quotient(select(greater(splat(0.0f), a), e, splat(1.0f)), add(e, splat(1.0f)));
}
static inline Wide sigmoid(Wide a) {
  const Wide m = magnitude(a);
  Wide p, s;
  expm1_parts(sub(splat(0.0), min_keep_nan(m, splat(708.0))), &p, &s);
  const Wide e = select(greater(m, splat(708.0)), splat(0.0), fmadd(p, s, s));
  return quotient(select(greater(splat(0.0), a), e, splat(1.0)), add(e, splat(1.0)));
}

}  // namespace effdl::EFFDL_SIMD_NAMESPACE
