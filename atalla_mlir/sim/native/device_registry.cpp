#include "device_registry.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "runtime_errors.h"

namespace atalla {
namespace {

constexpr const char* kSimulator = "native";

class Registry {
 public:
  Registry() {
    add(kSimulator, simulator_functions(), nullptr);
    add("testbench", testbench_functions(), nullptr);
  }

  void add(const std::string& name, const atalla_device_functions& functions, void* context) {
    auto made = std::make_shared<Registration>();
    made->name = name;
    made->description = functions.description != nullptr ? functions.description : "";
    made->functions = functions;
    made->functions.description = made->description.c_str();
    made->context = context;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!devices_.emplace(name, std::move(made)).second)
      throw RuntimeError(ATALLA_BAD_ARGUMENT, "there is a device '" + name + "' already");
  }

  void remove(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = devices_.find(name);
    if (found == devices_.end()) throw RuntimeError(ATALLA_NO_SUCH_DEVICE, "there is no device '" + name + "'");
    if (found->second.use_count() > 1)
      throw RuntimeError(ATALLA_DEVICE_BUSY, "device '" + name + "' or programs on it are open; close them first");
    devices_.erase(found);
  }

  // Nobody removes a device that somebody found.
  std::shared_ptr<Registration> find(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = devices_.find(name);
    return found == devices_.end() ? nullptr : found->second;
  }

  std::string names(const char* separator) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text;
    for (const auto& entry : devices_) text += (text.empty() ? "" : separator) + entry.first;
    return text;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Registration>> devices_;
};

// Never destroyed: plug-ins may outlive the static objects of this library.
Registry& registry() {
  static Registry* const devices = new Registry;
  return *devices;
}

void report_of_plugin(const char* text) { atalla_report(text); }

void load_plugin(const std::string& path) {
  // Never closed: its functions are in the registry.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw RuntimeError(ATALLA_BAD_FILE, std::string("plug-in does not load: ") + dlerror());
  const auto function = reinterpret_cast<atalla_plugin_function>(dlsym(library, "atalla_plugin"));
  if (function == nullptr) throw RuntimeError(ATALLA_BAD_FILE, path + " has no function 'atalla_plugin'");
  static const atalla_plugin_host host = {sizeof host, atalla_runtime_version(), atalla_device_register, report_of_plugin};
  atalla_report("no reason given");
  const int code = function(&host);
  if (code != ATALLA_OK) throw RuntimeError(code, "plug-in " + path + ": " + atalla_error_text());
  log_line(ATALLA_LOG_INFO, "loaded plug-in " + path);
}

// Once; a plug-in that does not load is a line of the log, and the look-up of its device the error.
void load_plugins_of_environment() {
  static std::once_flag once;
  std::call_once(once, [] {
    const char* paths = std::getenv("ATALLA_PLUGINS");
    std::string rest = paths != nullptr ? paths : "";
    while (!rest.empty()) {
      const std::size_t end = rest.find(':');
      const std::string path = rest.substr(0, end);
      rest = end == std::string::npos ? "" : rest.substr(end + 1);
      if (path.empty()) continue;
      const int code = reported([&] { load_plugin(path); });
      if (code != ATALLA_OK) log_line(ATALLA_LOG_ERROR, std::string("ATALLA_PLUGINS: ") + atalla_error_text());
    }
  });
}

bool is_simulation_wanted() {
  const char* wanted = std::getenv("ATALLA_SIM");
  return wanted != nullptr && *wanted != '\0' && std::strcmp(wanted, "0") != 0;
}

std::string wanted_name(const char* name) {
  if (name != nullptr && *name != '\0' && std::strcmp(name, "auto") != 0) return name;
  const char* chosen = std::getenv("ATALLA_DEVICE");
  const bool has_choice = chosen != nullptr && *chosen != '\0' && std::strcmp(chosen, "auto") != 0;
  return has_choice && !is_simulation_wanted() ? chosen : kSimulator;
}

}  // namespace

DeviceChoice choose_device(const char* name) {
  load_plugins_of_environment();
  const std::string wanted = wanted_name(name);
  const std::size_t colon = wanted.find(':');
  const std::string device = wanted.substr(0, colon);
  auto found = registry().find(device);
  if (found == nullptr) {
    const std::string asked = name != nullptr && wanted == name ? "" : ", which ATALLA_DEVICE names";
    throw RuntimeError(ATALLA_NO_SUCH_DEVICE,
                       "no device '" + device + "'" + asked + "; there are " + registry().names(", "));
  }
  return {std::move(found), colon == std::string::npos ? "" : wanted.substr(colon + 1)};
}

DeviceCore::DeviceCore(const DeviceChoice& device, atalla_core_options options) : device_(device.registration) {
  options.size = sizeof options;
  options.argument = device.argument.c_str();
  atalla_report("no reason given");
  check(device_->functions.open(device_->context, &options, &core_), "does not open");
}

DeviceCore::~DeviceCore() { device_->functions.close(core_); }

void DeviceCore::check(int code, const char* what) const {
  if (code == ATALLA_OK) return;
  const bool is_known = code < 0 && atalla_error_name(code) != nullptr;
  const std::string why = atalla_error_text();
  throw RuntimeError(is_known ? code : ATALLA_DEVICE_FAILED, "device '" + device_->name + "' " + what + ": " + why);
}

void DeviceCore::load_code(std::uint32_t pc, const void* code, std::size_t size) {
  atalla_report("no reason given");
  check(device_->functions.load_code(core_, pc, code, size), "does not load code");
}

void DeviceCore::write_dram(std::uint64_t address, const void* data, std::size_t size) {
  atalla_report("no reason given");
  check(device_->functions.write_dram(core_, address, data, size), "does not write DRAM");
}

void DeviceCore::read_dram(std::uint64_t address, void* data, std::size_t size) {
  atalla_report("no reason given");
  check(device_->functions.read_dram(core_, address, data, size), "does not read DRAM");
}

std::uint32_t DeviceCore::read_word(std::uint32_t address) {
  std::uint8_t bytes[4];
  read_dram(address, bytes, sizeof bytes);
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= std::uint32_t{bytes[i]} << (8 * i);
  return value;
}

void DeviceCore::write_word(std::uint32_t address, std::uint32_t value) {
  std::uint8_t bytes[4];
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  write_dram(address, bytes, sizeof bytes);
}

void DeviceCore::start(std::uint32_t pc) {
  atalla_report("no reason given");
  check(device_->functions.start(core_, pc), "does not start");
}

void DeviceCore::run(const atalla_run_options& options, atalla_run_result& result) {
  result = {};
  result.size = sizeof result;
  result.trap_slot = -1;
  atalla_report("no reason given");
  check(device_->functions.run(core_, &options, &result), "does not run");
}

bool DeviceCore::counters(atalla_counters& counters) {
  counters = {};
  counters.size = sizeof counters;
  if (device_->functions.counters == nullptr) return false;
  atalla_report("no reason given");
  const int code = device_->functions.counters(core_, &counters);
  if (code != ATALLA_NOT_OFFERED) check(code, "has no counters");
  return code == ATALLA_OK;
}

}  // namespace atalla

int atalla_device_register(const char* name, const atalla_device_functions* functions, void* context) {
  return atalla::reported([&] {
    atalla::require(name != nullptr && *name != '\0' && std::strpbrk(name, ": \n") == nullptr,
                    "a device's name is not empty and has no colon, blank or line end");
    atalla::require(functions != nullptr && functions->size == sizeof *functions,
                    "the table of functions is not of this version of the runtime");
    atalla::require(functions->open != nullptr && functions->close != nullptr && functions->load_code != nullptr &&
                        functions->write_dram != nullptr && functions->read_dram != nullptr &&
                        functions->start != nullptr && functions->run != nullptr,
                    "only `counters` may be missing from a device's functions");
    atalla::require(std::strcmp(name, "auto") != 0, "'auto' is not a device but a choice");
    atalla::registry().add(name, *functions, context);
  });
}

int atalla_device_unregister(const char* name) {
  return atalla::reported([&] {
    atalla::require(name != nullptr, "expected the name of a device");
    atalla::registry().remove(name);
  });
}

int atalla_plugin_load(const char* path) {
  return atalla::reported([&] {
    atalla::require(path != nullptr, "expected the path of a plug-in");
    atalla::load_plugin(path);
  });
}

size_t atalla_device_list(char* names, size_t size) {
  atalla::load_plugins_of_environment();
  const std::string text = atalla::registry().names("\n");
  if (names != nullptr && size != 0) {
    const std::size_t count = text.size() < size - 1 ? text.size() : size - 1;
    std::memcpy(names, text.data(), count);
    names[count] = '\0';
  }
  return text.size() + 1;
}

int atalla_device_open(const char* name, atalla_device** device) {
  return atalla::reported([&] {
    atalla::require(device != nullptr, "expected a place for the device");
    *device = nullptr;
    *device = new atalla_device{atalla::choose_device(name)};
  });
}

void atalla_device_close(atalla_device* device) { delete device; }

const char* atalla_device_name(const atalla_device* device) { return device->choice.registration->name.c_str(); }

const char* atalla_device_description(const atalla_device* device) {
  return device->choice.registration->description.c_str();
}
