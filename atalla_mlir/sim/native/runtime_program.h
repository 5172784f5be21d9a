// A loadable in a core of a device, with its buffers and the launch under way.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "device_registry.h"
#include "loadable_handle.h"
#include "runtime_plan.h"

namespace atalla {

struct CloseLoadable {
  void operator()(atalla_loadable* loadable) const { atalla_loadable_close(loadable); }
};

// The loadable, and the bytes that it has views of unless it came from a file.
struct LoadedFile {
  std::vector<std::uint8_t> bytes;
  std::unique_ptr<atalla_loadable, CloseLoadable> handle;
};

class RuntimeProgram {
 public:
  // Throws RuntimeError, like everything here.
  RuntimeProgram(const DeviceChoice& device, LoadedFile file);
  ~RuntimeProgram();

  const std::vector<std::string>& points() const { return points_; }
  const atalla_loadable& handle() const { return *file_.handle; }
  const std::vector<Tensor>& tensors(std::size_t entry, atalla_direction direction) const;
  void bind(std::size_t entry, atalla_direction direction, std::size_t index, void* data, std::size_t bytes);
  void launch(std::size_t entry, const atalla_launch_options& options);
  // Throws what the launch ended with.
  void wait(std::int64_t milliseconds);
  atalla_counters counters() const;
  // The result of a service of the firmware, which is `offset` bytes behind the start of its table.
  std::uint32_t call_service(std::uint32_t offset, std::uint32_t first, std::uint32_t second, std::uint32_t third);

 private:
  using Slot = std::tuple<std::size_t, int, std::size_t>;
  using Values = std::map<std::string, std::vector<std::uint8_t>>;

  struct Buffer {
    void* data;
    std::size_t bytes;
  };

  // `entry` with ATALLA_WHOLE replaced by the only way to call the model.
  std::size_t chosen(std::size_t entry) const;
  const RunPlan& plan(std::size_t point) const;
  const Entry& entry_at(std::size_t index) const;
  const std::vector<Tensor>& tensors_locked(std::size_t entry, atalla_direction direction) const;
  void check_idle() const;
  void check_bound(std::size_t entry) const;
  void load();
  void restore_system();
  void perform(std::size_t entry, const atalla_launch_options& options) noexcept;
  void run_whole(std::size_t point, const atalla_launch_options& options);
  void run_bound_entry(std::size_t entry, const atalla_launch_options& options);
  void run_step(const RunStep& step, const atalla_launch_options& options, Values& values);
  void run_core(const Entry& entry, const atalla_launch_options& options);
  void prepare_calls();
  void check_result(const Entry& entry, const atalla_run_result& result, const atalla_launch_options& options);
  void check_panic(const Entry& entry);
  void add_counters();
  void write(const Tensor& tensor, const void* data);
  void read(const Tensor& tensor, void* data);
  // Null for a tensor without elements that nobody bound.
  const Buffer* buffer(std::size_t entry, atalla_direction direction, std::size_t index) const;

  LoadedFile file_;
  const Loadable& loadable_;
  std::unique_ptr<DeviceCore> core_;
  const std::vector<std::string> points_;
  mutable std::map<std::size_t, RunPlan> plans_;  // made when they are first asked for
  std::map<Slot, Buffer> buffers_;
  bool has_firmware_ = false, has_failed_ = false;
  Entry call_{"host call", 0, {}, {}};  // PC 0: not loaded yet

  mutable std::mutex mutex_;  // of everything above while no launch is under way, and of what follows
  std::condition_variable is_done_;
  std::thread worker_;
  bool is_running_ = false, has_launched_ = false, has_counters_ = true;
  int code_ = ATALLA_OK;
  std::string text_;
  atalla_counters counters_{};
};

// Throws RuntimeError.
LoadedFile read_file(const char* path);
LoadedFile parse_bytes(const void* data, std::size_t size);

}  // namespace atalla
