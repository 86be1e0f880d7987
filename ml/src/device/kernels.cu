// The kernels of Vatic's own layers, losses and optimisers, for f32 on a GPU.
//
// No kernel uses atomics: each sum runs in an order that depends on the shape alone, so that the same input gives the
// same bits on the same kind of GPU. Matrices are row-major.

#include <cstdint>

#include "activation.cuh"

// dz = dy * activation'(y), and the sums of the columns of dz over `rows_per_block` rows: `partial` [blocks, columns].
// Grid (columns / 32, blocks), block (32, 8).
extern "C" __global__ void slopes(const float* y, const float* dy, float* dz, float* partial, uint32_t rows,
                                  uint32_t columns, uint32_t rows_per_block, int32_t activation) {
  __shared__ float sums[8][33];
  uint32_t column = blockIdx.x * 32 + threadIdx.x;
  uint32_t first = blockIdx.y * rows_per_block;
  uint32_t last = min(rows, first + rows_per_block);
  float sum = 0.0f;
  if (column < columns) {
    for (uint32_t row = first + threadIdx.y; row < last; row += 8) {
      uint64_t i = uint64_t(row) * columns + column;
      float value = slope(y[i], dy[i], activation);
      dz[i] = value;
      sum += value;
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < columns) {
    for (int lane = 1; lane < 8; lane++) sum += sums[lane][threadIdx.x];
    partial[uint64_t(blockIdx.y) * columns + column] = sum;
  }
}

// The sums of the columns of `partial` [blocks, columns].
extern "C" __global__ void sum_blocks(const float* partial, float* sums, uint32_t blocks, uint32_t columns) {
  uint32_t column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float sum = 0.0f;
  for (uint32_t block = 0; block < blocks; block++) sum += partial[uint64_t(block) * columns + column];
  sums[column] = sum;
}

// The sum of one double of each of 256 threads, in a fixed tree; valid in thread 0.
__device__ double block_sum(double value) {
  __shared__ double values[256];
  values[threadIdx.x] = value;
  __syncthreads();
  for (int width = 128; width > 0; width /= 2) {
    if (threadIdx.x < width) values[threadIdx.x] += values[threadIdx.x + width];
    __syncthreads();
  }
  return values[0];
}

enum Loss {
  SQUARED = 0,
  BINARY = 1,
  CLASSES = 2,
  ABSOLUTE = 3,
  HUBER = 4,
  QUANTILE = 5,
  POISSON = 6,
  BINARY_FOCAL = 7,
  CLASSES_FOCAL = 8
};

// The loss of a row, and its slope with respect to the one number that it depends on. The formulas are those of
// train/loss.rs.
struct RowLoss {
  double loss, slope;
};

// 1 / (1 + exp(-x)), without overflow.
__device__ __forceinline__ double logistic(double x) {
  double e = exp(-fabs(x));
  return x >= 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

// The focal loss where the other classes have the probability `wrong`; its slope is that of the logarithm of the right
// class's probability.
__device__ RowLoss focal(double wrong, double log_right, double gamma) {
  double factor = pow(wrong, gamma);
  double ratio = wrong > 0.0 ? log_right / wrong : -1.0;
  return {-factor * log_right, factor * (gamma * (1.0 - wrong) * ratio - 1.0)};
}

// The losses of one output. `parameter` is the constant of the loss: delta, quantile, offset, smoothing or gamma.
__device__ RowLoss loss_of_output(double z, double label, int32_t kind, double parameter) {
  double difference = z - label, distance = fabs(difference);
  switch (kind) {
    case ABSOLUTE: return {distance, difference == 0.0 ? 0.0 : copysign(1.0, difference)};
    case HUBER:
      if (distance <= parameter) return {0.5 * difference * difference, difference};
      return {parameter * (distance - 0.5 * parameter), copysign(parameter, difference)};
    case QUANTILE: {
      double slope = difference > 0.0 ? 1.0 - parameter : difference < 0.0 ? -parameter : 0.0;
      return {difference * slope, slope};
    }
    case POISSON: {
      double expected = exp(z), count = label / exp(parameter);
      double rest = count > 0.0 ? count * (log(count) - z) - count : 0.0;
      return {expected + rest, expected - count};
    }
    case BINARY: {
      double target = label * (1.0 - parameter) + 0.5 * parameter;
      return {fmax(z, 0.0) - z * target + log1p(exp(-fabs(z))), logistic(z) - target};
    }
    case BINARY_FOCAL: {
      double sign = 2.0 * label - 1.0, of_right = sign * z, wrong = logistic(-of_right);
      RowLoss row = focal(wrong, fmin(of_right, 0.0) - log1p(exp(-fabs(of_right))), parameter);
      return {row.loss, sign * row.slope * wrong};
    }
    default: return {0.5 * difference * difference, difference};
  }
}

// The losses of one logit for each class; writes the slopes times `weight`.
__device__ double loss_of_classes(const float* z, uint32_t right, uint32_t width, int32_t kind, double parameter,
                                  double weight, float* slopes) {
  double largest = z[0];
  for (uint32_t k = 1; k < width; k++) largest = fmax(largest, double(z[k]));
  double others = 0.0, mean = 0.0;
  for (uint32_t k = 0; k < width; k++) {
    if (k != right) others += exp(double(z[k]) - largest);
    mean += double(z[k]) / width;
  }
  double sum = others + exp(double(z[right]) - largest);
  // `fmax` ignores a NaN, which reaches the loss through `sum`.
  double log_right = double(z[right]) - largest - log(sum);
  if (kind == CLASSES_FOCAL) {
    double wrong = others / sum;
    RowLoss row = focal(wrong, wrong < 0.5 ? log1p(-wrong) : log_right, parameter);
    for (uint32_t k = 0; k < width; k++) {
      double share = exp(double(z[k]) - largest) / sum;
      slopes[k] = float(weight * row.slope * (k == right ? wrong : -share));
    }
    return row.loss;
  }
  for (uint32_t k = 0; k < width; k++) {
    double target = (k == right ? 1.0 - parameter : 0.0) + parameter / width;
    slopes[k] = float(weight * (exp(double(z[k]) - largest) / sum - target));
  }
  return parameter * (double(z[right]) - mean) - log_right;
}

// The gradient of the weighted loss with respect to the outputs [rows, width], and the weighted loss of each block of
// 256 rows. Labels and weights [rows]; the label of CLASSES and CLASSES_FOCAL is the position of a class.
extern "C" __global__ void loss(const float* outputs, const float* labels, const float* weights, float* gradient,
                                double* partial, uint32_t rows, uint32_t width, int32_t kind, double parameter) {
  uint32_t row = blockIdx.x * blockDim.x + threadIdx.x;
  double weighted = 0.0;
  if (row < rows) {
    double weight = weights[row], label = labels[row];
    const float* z = outputs + uint64_t(row) * width;
    float* slopes = gradient + uint64_t(row) * width;
    if (kind == CLASSES || kind == CLASSES_FOCAL) {
      weighted = weight * loss_of_classes(z, uint32_t(label), width, kind, parameter, weight, slopes);
    } else {
      RowLoss found = loss_of_output(z[0], label, kind, parameter);
      slopes[0] = float(weight * found.slope);
      weighted = weight * found.loss;
    }
  }
  double sum = block_sum(weighted);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// Adds `partial` [blocks] to `total` [1]. One block of 256 threads.
extern "C" __global__ void add_losses(const double* partial, uint32_t blocks, double* total) {
  double sum = 0.0;
  for (uint32_t block = threadIdx.x; block < blocks; block += 256) sum += partial[block];
  sum = block_sum(sum);
  if (threadIdx.x == 0) total[0] += sum;
}

struct Penalty {
  float l1, l2, decay;
};

// The slope of the penalised loss; at 0, the smallest slope that |w| allows.
__device__ __forceinline__ float penalised_slope(Penalty penalty, float weight, float slope) {
  slope += penalty.l2 * weight;
  if (penalty.l1 == 0.0f) return slope;
  if (weight == 0.0f) return slope - fminf(fmaxf(slope, -penalty.l1), penalty.l1);
  return slope + copysignf(penalty.l1, weight);
}

// One step of Adam with decoupled weight decay. `gradient` is multiplied by `scale` first. The constants are BETA1, BETA2
// and EPSILON of train/optim.rs, and MOMENTUM below.
extern "C" __global__ void adamw(float* weights, const float* gradient, float* mean, float* square, uint32_t elements,
                                 float scale, float learn_rate, float mean_scale, float square_scale, float l1, float l2,
                                 float decay) {
  uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  Penalty penalty = {l1, l2, decay};
  float weight = weights[i];
  float slope = penalised_slope(penalty, weight, gradient[i] * scale);
  float m = 0.9f * mean[i] + (1.0f - 0.9f) * slope;
  float v = 0.999f * square[i] + (1.0f - 0.999f) * slope * slope;
  float direction = m * mean_scale / (sqrtf(v * square_scale) + 1e-8f);
  float next = weight - learn_rate * (direction + decay * weight);
  // A weight that would change its sign by an l1 penalty becomes zero, without momentum.
  bool stops = l1 > 0.0f && weight * next < 0.0f;
  weights[i] = stops ? 0.0f : next;
  mean[i] = stops ? 0.0f : m;
  square[i] = v;
}

// One step of gradient descent with momentum 0.9. `gradient` is multiplied by `scale` first.
extern "C" __global__ void sgd(float* weights, const float* gradient, float* velocity, uint32_t elements, float scale,
                               float learn_rate, float l1, float l2) {
  uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= elements) return;
  Penalty penalty = {l1, l2, 0.0f};
  float weight = weights[i];
  float v = 0.9f * velocity[i] + penalised_slope(penalty, weight, gradient[i] * scale);
  float next = weight - learn_rate * v;
  bool stops = l1 > 0.0f && weight * next < 0.0f;
  weights[i] = stops ? 0.0f : next;
  velocity[i] = stops ? 0.0f : v;
}

// The sum of the weight rows that each row's categories name: `sums` [rows, width] from `ids` [rows, categories] and
// `weights` [vocabulary, width].
extern "C" __global__ void embedding_sum(const uint32_t* ids, const float* weights, float* sums, uint32_t rows,
                                         uint32_t categories, uint32_t width) {
  uint64_t elements = uint64_t(rows) * width, step = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += step) {
    uint64_t row = i / width, column = i % width;
    float sum = 0.0f;
    for (uint32_t category = 0; category < categories; category++) {
      sum += weights[uint64_t(ids[row * categories + category]) * width + column];
    }
    sums[i] = sum;
  }
}

// The gradient of `embedding_sum` with respect to the weights: for each id, the sum of the slopes of the rows that name
// it, in the order of the rows. Grid (vocabulary, width / 128), block 128.
extern "C" __global__ void embedding_slopes(const uint32_t* ids, const float* slopes, float* gradient, uint32_t rows,
                                            uint32_t categories, uint32_t width) {
  __shared__ uint32_t matches[128];
  __shared__ uint32_t counts[4];
  uint32_t id = blockIdx.x, column = blockIdx.y * 128 + threadIdx.x;
  uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  uint64_t named = uint64_t(rows) * categories;
  float sum = 0.0f;
  for (uint64_t first = 0; first < named; first += 128) {
    uint64_t i = first + threadIdx.x;
    bool is_match = i < named && ids[i] == id;
    uint32_t found = __ballot_sync(0xffffffffu, is_match);
    if (lane == 0) counts[warp] = __popc(found);
    __syncthreads();
    uint32_t before = 0, all = 0;
    for (uint32_t w = 0; w < 4; w++) {
      before += w < warp ? counts[w] : 0;
      all += counts[w];
    }
    if (is_match) matches[before + __popc(found & ((1u << lane) - 1))] = uint32_t(i / categories);
    __syncthreads();
    if (column < width) {
      for (uint32_t match = 0; match < all; match++) sum += slopes[uint64_t(matches[match]) * width + column];
    }
    __syncthreads();
  }
  if (column < width) gradient[uint64_t(id) * width + column] = sum;
}

// The first of the four numbers of Philox4x32-10 for a counter and a key (Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3", 2011).
__device__ uint32_t philox(uint64_t counter, uint64_t key) {
  uint32_t c0 = uint32_t(counter), c1 = uint32_t(counter >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; round++) {
    uint32_t high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    uint32_t high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c0;
}

// Zeroes the elements whose random number is below `threshold`, and multiplies the others by `kept`.
extern "C" __global__ void dropout(const float* x, float* y, uint64_t elements, uint64_t key, uint32_t threshold,
                                   float kept) {
  uint64_t step = uint64_t(gridDim.x) * blockDim.x;
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += step) {
    y[i] = philox(i, key) < threshold ? 0.0f : x[i] * kept;
  }
}

// Stops with a fault, for tests.
extern "C" __global__ void fault() { asm("trap;"); }
