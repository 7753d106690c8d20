// exp for the vector types, included once per SIMD level by simd_<level>.h.
namespace effdl::EFFDL_SIMD_NAMESPACE {

// exp(z + tail) for a small |tail|: Cody-Waite reduction by ln 2 in two parts, polynomial of degree 7 on
// [-ln2/2, ln2/2]. The error over all floats is measured in tests/test_simd.py.
static inline Vec exp_reduced(Vec z, Vec tail) {
  // Outside these bounds the result is 0 or infinity all the same; NaN passes.
  z = min_keep_nan(max_keep_nan(z, set1(-104.5f)), set1(89.5f));
  const Vec n = round_nearest(mul(z, set1(1.44269504088896341f)));
  Vec r = fnmadd(n, set1(0.693145751953125f), z);  // 15 significant bits: n * ln2_hi is exact
  r = add(r, fnmadd(n, set1(1.42860682030941723212e-6f), tail));
  Vec p = set1(1.9841269841e-4f);
  p = fmadd(p, r, set1(1.3888888889e-3f));
  p = fmadd(p, r, set1(8.3333333333e-3f));
  p = fmadd(p, r, set1(4.1666666667e-2f));
  p = fmadd(p, r, set1(1.6666666667e-1f));
  p = fmadd(p, r, set1(0.5f));
  p = fmadd(p, mul(r, r), r);
  return scale_by_power(add(p, set1(1.0f)), n);
}

static inline Vec exp_plain(Vec a) { return exp_reduced(a, set1(0.0f)); }

// exp(a + hi + lo), where hi + lo is a constant split so that nothing is lost (ln alpha). a + hi is rounded once; its
// rounding error goes into the reduced argument, so a large logit does not amplify it.
static inline Vec exp_sum(Vec a, Vec hi, Vec lo) {
  const Vec s = add(a, hi);
  const Vec virtual_hi = sub(s, a);
  const Vec error = add(sub(a, sub(s, virtual_hi)), sub(hi, virtual_hi));
  return exp_reduced(s, zero_unless(is_finite(s), add(error, lo)));  // infinities have no rounding error
}

}  // namespace effdl::EFFDL_SIMD_NAMESPACE
