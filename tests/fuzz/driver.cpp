// Stands in for libFuzzer where the compiler has none: replays a corpus, then mutates it for a while. It knows nothing
// of coverage. Arguments as libFuzzer's: -max_total_time=SECONDS -seed=NUMBER, files and folders. Of what fails it
// writes the input to crash-<target>.
#include <sanitizer/common_interface_defs.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz.h"

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

namespace {

constexpr size_t kMax = 1 << 16;  // bytes of an input
std::string name;
Bytes current;

void save_current() {
  const std::string path = "crash-" + name;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(current.data()), static_cast<long>(current.size()));
  std::fprintf(stderr, "the input is in %s: run %s %s\n", path.c_str(), name.c_str(), path.c_str());
}

void on_abort(int) {
  save_current();
  std::_Exit(1);
}

uint64_t state = 1;
uint64_t draw() {  // splitmix64
  uint64_t z = state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
size_t below(size_t n) { return n == 0 ? 0 : draw() % n; }

void run(const Bytes& input) {
  current = input;
  LLVMFuzzerTestOneInput(current.data(), current.size());
}

void read(const fs::path& path, std::vector<Bytes>* corpus) {
  if (fs::is_directory(path)) {
    std::vector<fs::path> entries(fs::directory_iterator(path), fs::directory_iterator{});
    std::sort(entries.begin(), entries.end());  // the same order everywhere
    for (const fs::path& entry : entries) read(entry, corpus);
    return;
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::exit(2);
  }
  corpus->emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  constexpr uint64_t kNumbers[] = {0,
                                   1,
                                   2,
                                   15,
                                   16,
                                   17,
                                   31,
                                   32,
                                   127,
                                   128,
                                   255,
                                   4095,
                                   4096,
                                   32767,
                                   32768,
                                   65535,
                                   65536,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   0x4000000000000000,
                                   0xffffffffffffffff};
  for (size_t times = 1 + below(4); times > 0; --times) {
    // Half of all changes are to the first bytes: headers, lengths, directories, states.
    const size_t at = below(draw() % 2 != 0 && size > 128 ? 128 : size);
    switch (below(7)) {
      case 0:
        if (size != 0) data[at] ^= static_cast<uint8_t>(1u << below(8));
        break;
      case 1:
        if (size != 0) data[at] = static_cast<uint8_t>(draw());
        break;
      case 2:
        if (size != 0) data[at] = static_cast<uint8_t>(data[at] + (draw() % 2 != 0 ? 1 : -1));
        break;
      case 3: {  // a number of 1, 2, 4 or 8 bytes
        const size_t width = size_t{1} << below(4);
        const uint64_t number = kNumbers[below(std::size(kNumbers))];
        if (at + width <= size) std::memcpy(data + at, &number, width);
        break;
      }
      case 4: {  // one piece over another
        const size_t from = below(size), length = below(1 + (size - from < 64 ? size - from : 64));
        if (at + length <= size) std::memmove(data + at, data + from, length);
        break;
      }
      case 5: {  // cut out
        const size_t length = below(1 + (size - at < 64 ? size - at : 64));
        std::memmove(data + at, data + at + length, size - at - length);
        size -= length;
        break;
      }
      default: {  // put in
        const size_t length = below(1 + (max_size - size < 64 ? max_size - size : 64));
        std::memmove(data + at + length, data + at, size - at);
        for (size_t i = 0; i < length; ++i) data[at + i] = static_cast<uint8_t>(draw() % 4 == 0 ? draw() : 0);
        size += length;
      }
    }
  }
  return size;
}

int main(int argc, char** argv) {
  name = fs::path(argv[0]).filename();
  double seconds = 0;
  std::vector<Bytes> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("-max_total_time=", 0) == 0) {
      seconds = std::stod(argument.substr(16));
    } else if (argument.rfind("-seed=", 0) == 0) {
      state = std::stoull(argument.substr(6));
    } else if (argument[0] != '-') {
      read(argument, &corpus);
    }
  }
  std::signal(SIGABRT, on_abort);
  __sanitizer_set_death_callback(save_current);
  for (const Bytes& input : corpus) run(input);
  const int64_t replayed = effdl::fuzz::interesting;
  if (replayed == 0) {
    std::fprintf(stderr, "%s: nothing of the corpus is valid\n", name.c_str());
    return 2;
  }
  int64_t runs = 0;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    Bytes input = corpus[below(corpus.size())];
    if (input.size() > kMax) continue;
    const size_t size = input.size();
    input.resize(kMax);
    input.resize(LLVMFuzzerCustomMutator(input.data(), size, kMax, static_cast<unsigned>(draw())));
    run(input);
    ++runs;
  }
  std::printf("%s: %zu inputs, %lld of them valid; %lld mutations, %lld of them valid\n", name.c_str(), corpus.size(),
              static_cast<long long>(replayed), static_cast<long long>(runs),
              static_cast<long long>(effdl::fuzz::interesting - replayed));
  return 0;
}
