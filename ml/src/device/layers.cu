// The kernels of layers over images, and of activations, on a GPU: for f32, f16 and bf16 forward, for f32 backward.
//
// No kernel uses atomics: each sum runs in an order that depends on the shape alone. Numbers of 16 bits are summed as f32.
// An image is one channel of one row, [height, width]; it has `places` = down * across positions of a window.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "activation.cuh"

// The sizes of an image, and a window that moves over it.
struct Window {
  uint32_t height, width, down, across, kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x;

  __device__ uint32_t area() const { return kernel_y * kernel_x; }
  __device__ uint32_t places() const { return down * across; }
  __device__ uint32_t pixels() const { return height * width; }

  // The pixel under the element `k` of the window at `place`; -1 if it is outside of the image.
  __device__ int32_t pixel(uint32_t k, uint32_t place) const {
    int32_t y = int32_t(place / across * stride_y + k / kernel_x) - int32_t(padding_y);
    int32_t x = int32_t(place % across * stride_x + k % kernel_x) - int32_t(padding_x);
    if (y < 0 || x < 0 || y >= int32_t(height) || x >= int32_t(width)) return -1;
    return y * int32_t(width) + x;
  }

  // The place at which the element `k` of the window lies on `pixel`; -1 if there is none.
  __device__ int32_t place(uint32_t k, uint32_t pixel) const {
    int32_t y = int32_t(pixel / width + padding_y) - int32_t(k / kernel_x);
    int32_t x = int32_t(pixel % width + padding_x) - int32_t(k % kernel_x);
    if (y < 0 || x < 0 || y % int32_t(stride_y) || x % int32_t(stride_x)) return -1;
    y /= int32_t(stride_y), x /= int32_t(stride_x);
    return y < int32_t(down) && x < int32_t(across) ? y * int32_t(across) + x : -1;
  }
};

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(__half x) { return __half2float(x); }
__device__ __forceinline__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T> __device__ T of(float x);
template <> __device__ __forceinline__ float of<float>(float x) { return x; }
template <> __device__ __forceinline__ __half of<__half>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ __nv_bfloat16 of<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

#define EACH(i, elements)                                                                                     \
  for (uint64_t i = uint64_t(blockIdx.x) * blockDim.x + threadIdx.x, step = uint64_t(gridDim.x) * blockDim.x; \
       i < elements; i += step)

// y = activation(y + bias), in place. Channel c of `channels` has `positions` numbers that follow each other.
template <typename T>
__device__ void bias_activation(T* y, const T* bias, uint64_t elements, uint32_t positions, uint32_t channels,
                                int32_t activation) {
  EACH(i, elements) y[i] = of<T>(activate(number(y[i]) + number(bias[i / positions % channels]), activation));
}

template <typename T>
__device__ void activation(const T* x, T* y, uint64_t elements, int32_t activation) {
  EACH(i, elements) y[i] = of<T>(activate(number(x[i]), activation));
}

// The windows of each image side by side: `columns` [images, area, places].
template <typename T>
__device__ void gather(const T* x, T* columns, uint64_t elements, Window window) {
  uint32_t places = window.places(), area = window.area(), pixels = window.pixels();
  EACH(i, elements) {
    int32_t pixel = window.pixel(uint32_t(i / places % area), uint32_t(i % places));
    columns[i] = pixel < 0 ? of<T>(0.0f) : x[i / places / area * pixels + pixel];
  }
}

// Convolution in groups: y [rows, outputs, places] from x [rows, groups * channels, pixels] and weight [outputs, channels, area].
template <typename T>
__device__ void grouped(const T* x, const T* weight, T* y, uint64_t elements, Window window, uint32_t channels,
                        uint32_t outputs, uint32_t groups) {
  uint32_t places = window.places(), area = window.area(), pixels = window.pixels();
  EACH(i, elements) {
    uint32_t place = uint32_t(i % places), output = uint32_t(i / places % outputs);
    const T* image = x + (i / places / outputs * groups + output / (outputs / groups)) * channels * pixels;
    const T* weights = weight + uint64_t(output) * channels * area;
    float sum = 0.0f;
    for (uint32_t channel = 0; channel < channels; channel++, image += pixels, weights += area) {
      for (uint32_t k = 0; k < area; k++) {
        int32_t pixel = window.pixel(k, place);
        if (pixel >= 0) sum += number(image[pixel]) * number(weights[k]);
      }
    }
    y[i] = of<T>(sum);
  }
}

// The pixel of the first greatest element under a window, or of the first NaN. Some element is inside of the image.
template <typename T>
__device__ int32_t greatest_pixel(const T* image, const Window& window, uint32_t place) {
  int32_t best = -1;
  for (uint32_t k = 0; k < window.area(); k++) {
    int32_t pixel = window.pixel(k, place);
    if (pixel < 0) continue;
    float found = number(image[pixel]);
    if (best < 0 || found > number(image[best]) || (isnan(found) && !isnan(number(image[best])))) best = pixel;
  }
  return best;
}

// The maximum or the mean under each window: y [images, places].
template <typename T>
__device__ void pool(const T* x, T* y, uint64_t elements, Window window, int32_t is_max) {
  uint32_t places = window.places(), pixels = window.pixels();
  EACH(i, elements) {
    const T* image = x + i / places * pixels;
    uint32_t place = uint32_t(i % places);
    if (is_max) {
      y[i] = image[greatest_pixel(image, window, place)];
      continue;
    }
    float sum = 0.0f;
    for (uint32_t k = 0; k < window.area(); k++) {
      int32_t pixel = window.pixel(k, place);
      if (pixel >= 0) sum += number(image[pixel]);
    }
    y[i] = of<T>(sum / float(window.area()));
  }
}

// The sum of a number of each of 256 threads, in a fixed tree, for all threads.
__device__ double block_sum(double value) {
  __shared__ double values[256];
  values[threadIdx.x] = value;
  __syncthreads();
  for (int width = 128; width > 0; width /= 2) {
    if (threadIdx.x < width) values[threadIdx.x] += values[threadIdx.x + width];
    __syncthreads();
  }
  double sum = values[0];
  __syncthreads();
  return sum;
}

struct Statistics {
  double mean, scale;
};

// The mean of a run, and the inverse of its deviation. All threads of a block of 256.
template <typename T>
__device__ Statistics statistics(const T* run, uint32_t width) {
  double sum = 0.0, squares = 0.0;
  for (uint32_t i = threadIdx.x; i < width; i += 256) sum += double(number(run[i]));
  double mean = block_sum(sum) / width;
  for (uint32_t i = threadIdx.x; i < width; i += 256) {
    double difference = double(number(run[i])) - mean;
    squares += difference * difference;
  }
  return {mean, 1.0 / sqrt(block_sum(squares) / width + 1e-5)};
}

// Each run of `width` numbers with mean 0 and variance 1. Blocks of 256 threads, each for some runs.
template <typename T>
__device__ void normalise(const T* x, T* y, uint64_t runs, uint32_t width) {
  for (uint64_t run = blockIdx.x; run < runs; run += gridDim.x) {
    const T* from = x + run * width;
    Statistics known = statistics(from, width);
    for (uint32_t i = threadIdx.x; i < width; i += 256) {
      y[run * width + i] = of<T>(float((double(number(from[i])) - known.mean) * known.scale));
    }
  }
}

// y = x * weight + bias, with a factor and a summand for each channel.
template <typename T>
__device__ void scale(const T* x, const T* weight, const T* bias, T* y, uint64_t elements, uint32_t positions,
                      uint32_t channels) {
  EACH(i, elements) {
    uint32_t channel = uint32_t(i / positions % channels);
    y[i] = of<T>(number(x[i]) * number(weight[channel]) + number(bias[channel]));
  }
}

#define FORWARD(T, suffix)                                                                                            \
  extern "C" __global__ void bias_activation_##suffix(T* y, const T* bias, uint64_t elements, uint32_t positions,     \
                                                      uint32_t channels, int32_t kind) {                              \
    bias_activation(y, bias, elements, positions, channels, kind);                                                    \
  }                                                                                                                   \
  extern "C" __global__ void activation_##suffix(const T* x, T* y, uint64_t elements, int32_t kind) {                 \
    activation(x, y, elements, kind);                                                                                 \
  }                                                                                                                   \
  extern "C" __global__ void gather_##suffix(const T* x, T* columns, uint64_t elements, Window window) {              \
    gather(x, columns, elements, window);                                                                             \
  }                                                                                                                   \
  extern "C" __global__ void grouped_##suffix(const T* x, const T* weight, T* y, uint64_t elements, Window window,    \
                                              uint32_t channels, uint32_t outputs, uint32_t groups) {                 \
    grouped(x, weight, y, elements, window, channels, outputs, groups);                                               \
  }                                                                                                                   \
  extern "C" __global__ void pool_##suffix(const T* x, T* y, uint64_t elements, Window window, int32_t is_max) {      \
    pool(x, y, elements, window, is_max);                                                                             \
  }                                                                                                                   \
  extern "C" __global__ void normalise_##suffix(const T* x, T* y, uint64_t runs, uint32_t width) {                    \
    normalise(x, y, runs, width);                                                                                     \
  }                                                                                                                   \
  extern "C" __global__ void scale_##suffix(const T* x, const T* weight, const T* bias, T* y, uint64_t elements,      \
                                            uint32_t positions, uint32_t channels) {                                  \
    scale(x, weight, bias, y, elements, positions, channels);                                                         \
  }

FORWARD(float, f32)
FORWARD(__half, f16)
FORWARD(__nv_bfloat16, bf16)

// ---- backward ------------------------------------------------------------------------------------------------------

// dy times the slope of the activation at x.
extern "C" __global__ void slopes_at(const float* x, const float* dy, float* dx, uint64_t elements, int32_t activation) {
  EACH(i, elements) dx[i] = slope_at(x[i], dy[i], activation);
}

// dy times the slope of the activation whose value is y.
extern "C" __global__ void slopes_of(const float* y, const float* dy, float* dz, uint64_t elements, int32_t activation) {
  EACH(i, elements) dz[i] = slope(y[i], dy[i], activation);
}

// The inverse of `gather`: each pixel is the sum of the elements of `columns` that came from it.
extern "C" __global__ void scatter(const float* columns, float* dx, uint64_t elements, Window window) {
  uint32_t places = window.places(), area = window.area(), pixels = window.pixels();
  EACH(i, elements) {
    const float* of_image = columns + i / pixels * area * places;
    float sum = 0.0f;
    for (uint32_t k = 0; k < area; k++) {
      int32_t place = window.place(k, uint32_t(i % pixels));
      if (place >= 0) sum += of_image[k * places + place];
    }
    dx[i] = sum;
  }
}

// The gradient of `grouped` with respect to x.
extern "C" __global__ void grouped_inputs(const float* weight, const float* dy, float* dx, uint64_t elements,
                                          Window window, uint32_t channels, uint32_t outputs, uint32_t groups) {
  uint32_t places = window.places(), area = window.area(), pixels = window.pixels();
  uint32_t of_group = outputs / groups;
  EACH(i, elements) {
    uint32_t pixel = uint32_t(i % pixels), input = uint32_t(i / pixels % (groups * channels));
    uint32_t first = input / channels * of_group;
    const float* slopes = dy + (i / pixels / (groups * channels) * outputs + first) * places;
    const float* weights = weight + (uint64_t(first) * channels + input % channels) * area;
    float sum = 0.0f;
    for (uint32_t output = 0; output < of_group; output++, slopes += places, weights += channels * area) {
      for (uint32_t k = 0; k < area; k++) {
        int32_t place = window.place(k, pixel);
        if (place >= 0) sum += slopes[place] * weights[k];
      }
    }
    dx[i] = sum;
  }
}

// The gradient of `grouped` with respect to the weights. Blocks of 256 threads, one for each weight.
extern "C" __global__ void grouped_weights(const float* x, const float* dy, float* dw, uint32_t rows, Window window,
                                           uint32_t channels, uint32_t outputs, uint32_t groups) {
  uint32_t places = window.places(), area = window.area(), pixels = window.pixels();
  uint32_t k = blockIdx.x % area, channel = blockIdx.x / area % channels, output = blockIdx.x / area / channels;
  uint32_t input = output / (outputs / groups) * channels + channel;
  double sum = 0.0;
  for (uint64_t i = threadIdx.x; i < uint64_t(rows) * places; i += 256) {
    uint32_t place = uint32_t(i % places);
    uint64_t row = i / places;
    int32_t pixel = window.pixel(k, place);
    if (pixel < 0) continue;
    sum += double(x[(row * groups * channels + input) * pixels + pixel]) * double(dy[(row * outputs + output) * places + place]);
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) dw[blockIdx.x] = float(sum);
}

// The pixel whose element each window has as its maximum: `pixels` [images, places].
extern "C" __global__ void greatest(const float* x, int32_t* pixels, uint64_t elements, Window window) {
  EACH(i, elements) {
    pixels[i] = greatest_pixel(x + i / window.places() * window.pixels(), window, uint32_t(i % window.places()));
  }
}

// The gradient of `pool`: of maxima, whose pixels are `greatest`, or of means, if `greatest` is null.
extern "C" __global__ void pool_slopes(const float* dy, const int32_t* greatest, float* dx, uint64_t elements,
                                       Window window) {
  uint32_t places = window.places(), area = window.area(), pixels = window.pixels();
  EACH(i, elements) {
    uint32_t pixel = uint32_t(i % pixels);
    uint64_t first = i / pixels * places;
    float sum = 0.0f;
    for (uint32_t k = 0; k < area; k++) {
      int32_t place = window.place(k, pixel);
      if (place < 0) continue;
      if (!greatest) {
        sum += dy[first + place] / float(area);
      } else if (greatest[first + place] == int32_t(pixel)) {
        sum += dy[first + place];
      }
    }
    dx[i] = sum;
  }
}

// The gradient of `normalise`, whose result is y. Blocks of 256 threads, each for some runs.
extern "C" __global__ void normalise_slopes(const float* x, const float* y, const float* dy, float* dx, uint64_t runs,
                                            uint32_t width) {
  for (uint64_t run = blockIdx.x; run < runs; run += gridDim.x) {
    uint64_t first = run * width;
    Statistics known = statistics(x + first, width);
    double sum = 0.0, along = 0.0;
    for (uint32_t i = threadIdx.x; i < width; i += 256) {
      sum += double(dy[first + i]);
      along += double(y[first + i]) * double(dy[first + i]);
    }
    double mean = block_sum(sum) / width;
    double slope = block_sum(along) / width;
    for (uint32_t i = threadIdx.x; i < width; i += 256) {
      dx[first + i] = float(known.scale * (double(dy[first + i]) - mean - double(y[first + i]) * slope));
    }
  }
}

// dx = dy * weight, with a factor for each channel.
extern "C" __global__ void scale_slopes(const float* dy, const float* weight, float* dx, uint64_t elements,
                                        uint32_t positions, uint32_t channels) {
  EACH(i, elements) dx[i] = dy[i] * weight[i / positions % channels];
}

// The sum of each run of `width` numbers of x, or of x times `factors`, if it is not null. Blocks of 256 threads, a warp for each run.
extern "C" __global__ void sum_runs(const float* x, const float* factors, float* sums, uint64_t runs, uint32_t width) {
  uint64_t run = uint64_t(blockIdx.x) * 8 + threadIdx.x / 32, step = uint64_t(gridDim.x) * 8;
  uint32_t lane = threadIdx.x % 32;
  for (; run < runs; run += step) {
    float sum = 0.0f;
    for (uint32_t i = lane; i < width; i += 32) {
      uint64_t at = run * width + i;
      sum += factors ? x[at] * factors[at] : x[at];
    }
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_down_sync(0xffffffffu, sum, distance);
    if (lane == 0) sums[run] = sum;
  }
}

// The sums of the columns of x [rows, columns] over `rows_per_block` rows: `partial` [blocks, columns].
// Grid (columns / 32, blocks), block (32, 8).
extern "C" __global__ void sum_columns(const float* x, float* partial, uint32_t rows, uint32_t columns,
                                       uint32_t rows_per_block) {
  __shared__ float sums[8][33];
  uint32_t column = blockIdx.x * 32 + threadIdx.x;
  uint32_t first = blockIdx.y * rows_per_block;
  uint32_t last = min(rows, first + rows_per_block);
  float sum = 0.0f;
  if (column < columns) {
    for (uint32_t row = first + threadIdx.y; row < last; row += 8) sum += x[uint64_t(row) * columns + column];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < columns) {
    for (int lane = 1; lane < 8; lane++) sum += sums[lane][threadIdx.x];
    partial[uint64_t(blockIdx.y) * columns + column] = sum;
  }
}
