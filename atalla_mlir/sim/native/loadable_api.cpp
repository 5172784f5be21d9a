// The C interface of loadables: checks arguments, keeps exceptions inside. Uses engines through their C interface.
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>

#include "loadable_handle.h"
#include "tensor_layout.h"

namespace {

using atalla::Damage;
using atalla::Entry;
using atalla::Loadable;
using atalla::Tensor;
using atalla::View;

static_assert(ATALLA_NOT_A_LOADABLE == static_cast<int>(Damage::NOT_A_LOADABLE));
static_assert(ATALLA_INVALID == static_cast<int>(Damage::INVALID) && ATALLA_UNREADABLE > ATALLA_INVALID);
static_assert(ATALLA_I64 + 1 == atalla::kElementTypes.size());

void report(int32_t* damage, char* error, size_t error_size, int32_t kind, const std::string& message) {
  if (damage != nullptr) *damage = kind;
  if (error != nullptr && error_size != 0) std::snprintf(error, error_size, "%s", message.c_str());
}

template <class Function>
atalla_loadable* opened(int32_t* damage, char* error, size_t error_size, Function function) {
  report(damage, error, error_size, ATALLA_NO_DAMAGE, "");
  try {
    return function();
  } catch (const atalla::LoadableError& problem) {
    report(damage, error, error_size, static_cast<int32_t>(problem.damage), problem.what());
  } catch (const std::exception& problem) {
    report(damage, error, error_size, ATALLA_UNREADABLE, problem.what());
  }
  return nullptr;
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// Not a vector, which would write zeros first.
struct File {
  std::unique_ptr<std::uint8_t[]> data;
  std::size_t size = 0;
};

File contents(const char* path) {
  const auto fail = [&] { throw std::runtime_error(std::string("cannot read ") + path + ": " + std::strerror(errno)); };
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path, "rb"));
  if (file == nullptr || std::fseek(file.get(), 0, SEEK_END) != 0) fail();
  const long end = std::ftell(file.get());
  if (end == LONG_MAX) errno = EISDIR;
  if (end < 0 || end == LONG_MAX) fail();
  std::rewind(file.get());
  File found;
  found.size = static_cast<std::size_t>(end);
  found.data.reset(new std::uint8_t[found.size + 1]);
  const std::size_t count = std::fread(found.data.get(), 1, found.size + 1, file.get());
  if (std::ferror(file.get()) != 0) fail();
  if (count != found.size) throw std::runtime_error(std::string(path) + " changed while it was read");
  return found;
}

const std::vector<Tensor>* tensors_of(const atalla_loadable* loadable, size_t entry, atalla_direction direction) {
  if (loadable == nullptr || entry >= loadable->loadable.entries.size()) return nullptr;
  const Entry& found = loadable->loadable.entries[entry];
  return direction == ATALLA_INPUT ? &found.inputs : direction == ATALLA_OUTPUT ? &found.outputs : nullptr;
}

int read_word(const atalla_engine* engine, std::uint32_t address, std::uint32_t& value) {
  std::uint8_t bytes[4];
  const int status = atalla_engine_read_dram(engine, address, bytes, sizeof bytes);
  if (status == ATALLA_OK) value = View(bytes, sizeof bytes).number(0);
  return status;
}

int write_word(atalla_engine* engine, std::uint32_t address, std::uint32_t value) {
  std::uint8_t bytes[4];
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  return atalla_engine_write_dram(engine, address, bytes, sizeof bytes);
}

template <class Function>
int guarded(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return ATALLA_OUT_OF_MEMORY;
  } catch (...) {
    return ATALLA_BAD_ARGUMENT;
  }
}

}  // namespace

atalla_loadable* atalla_loadable_read(const void* data, size_t size, int32_t* damage, char* error,
                                      size_t error_size) {
  return opened(damage, error, error_size,
                [&] { return new atalla_loadable{{}, atalla::read_loadable(View(data, size))}; });
}

atalla_loadable* atalla_loadable_open(const char* path, int32_t* damage, char* error, size_t error_size) {
  return opened(damage, error, error_size, [&] {
    auto found = std::make_unique<atalla_loadable>();
    File file = contents(path);
    found->file = std::move(file.data);
    found->loadable = atalla::read_loadable(View(found->file.get(), file.size));
    return found.release();
  });
}

void atalla_loadable_close(atalla_loadable* loadable) { delete loadable; }

const char* atalla_loadable_machine(const atalla_loadable* loadable) {
  return loadable->loadable.machine_name.c_str();
}

const char* atalla_loadable_metadata(const atalla_loadable* loadable, size_t* size) {
  *size = loadable->loadable.meta_text.size();
  return loadable->loadable.meta_text.data();
}

size_t atalla_loadable_entries(const atalla_loadable* loadable) { return loadable->loadable.entries.size(); }

const char* atalla_loadable_entry_name(const atalla_loadable* loadable, size_t entry) {
  const auto& entries = loadable->loadable.entries;
  return entry < entries.size() ? entries[entry].name.c_str() : nullptr;
}

size_t atalla_loadable_tensors(const atalla_loadable* loadable, size_t entry, atalla_direction direction) {
  const std::vector<Tensor>* tensors = tensors_of(loadable, entry, direction);
  return tensors == nullptr ? 0 : tensors->size();
}

int atalla_loadable_tensor(const atalla_loadable* loadable, size_t entry, atalla_direction direction, size_t index,
                           atalla_tensor* tensor) {
  const std::vector<Tensor>* tensors = tensors_of(loadable, entry, direction);
  if (tensors == nullptr || index >= tensors->size() || tensor == nullptr) return ATALLA_BAD_ARGUMENT;
  const Tensor& found = (*tensors)[index];
  *tensor = atalla::described(found);
  return ATALLA_OK;
}

const char* atalla_type_name(uint32_t type) {
  return type < atalla::kElementTypes.size() ? atalla::kElementTypes[type].name : nullptr;
}

size_t atalla_type_bytes(uint32_t type) {
  return type < atalla::kElementTypes.size() ? atalla::kElementTypes[type].bytes : 0;
}

atalla_engine* atalla_loadable_create_engine(const atalla_loadable* loadable, char* error, size_t error_size) {
  try {
    const auto values = atalla::machine_parameters(loadable->loadable);
    std::vector<atalla_parameter> parameters;
    for (const auto& [name, value] : values) parameters.push_back({name.c_str(), value});
    return atalla_engine_create(parameters.data(), parameters.size(), error, error_size);
  } catch (const std::exception& problem) {
    report(nullptr, error, error_size, ATALLA_WRONG_MACHINE, problem.what());
    return nullptr;
  }
}

int atalla_loadable_load(const atalla_loadable* loadable, atalla_engine* engine) {
  for (const atalla::Segment& segment : loadable->loadable.segments) {
    if (segment.is_zero_fill()) continue;
    const int status =
        segment.is_code ? atalla_engine_load_code(engine, segment.address, segment.data.data(), segment.data.size())
                        : atalla_engine_write_dram(engine, segment.address, segment.data.data(), segment.data.size());
    if (status != ATALLA_OK) return status;
  }
  return ATALLA_OK;
}

int atalla_loadable_start(const atalla_loadable* loadable, size_t entry, atalla_engine* engine) {
  if (entry >= loadable->loadable.entries.size()) return ATALLA_BAD_ARGUMENT;
  const std::uint32_t pc = loadable->loadable.entries[entry].pc;
  std::uint32_t magic = 0;
  const int status = read_word(engine, atalla::kHeaderMagicAddress, magic);
  if (status != ATALLA_OK) return status;
  atalla_engine_reset(engine);
  // An entry at PC 0 is a core start with the header as it is.
  if (magic == atalla::kHeaderMagic && pc != 0) return write_word(engine, atalla::kEntryAddress, pc);
  atalla_engine_set_pc(engine, pc);
  return ATALLA_OK;
}

int atalla_loadable_panicked(const atalla_engine* engine, uint32_t* code, uint32_t* link) {
  std::uint32_t magic = 0, panic = 0;
  int status = read_word(engine, atalla::kHeaderMagicAddress, magic);
  if (status == ATALLA_OK) status = read_word(engine, atalla::kPanicAddress, panic);
  if (status == ATALLA_OK) status = read_word(engine, atalla::kPanicCodeAddress, *code);
  if (status == ATALLA_OK) status = read_word(engine, atalla::kPanicLinkAddress, *link);
  return status != ATALLA_OK ? status : magic == atalla::kHeaderMagic && panic != 0;
}

int atalla_tensor_write(atalla_engine* engine, const atalla_tensor* tensor, const void* values) {
  return guarded([&] {
    if (!atalla::is_tensor(tensor) || values == nullptr) return static_cast<int>(ATALLA_BAD_ARGUMENT);
    std::vector<std::uint8_t> bytes(atalla::extent_bytes(*tensor));
    const int status = atalla_engine_read_dram(engine, tensor->address, bytes.data(), bytes.size());
    if (status != ATALLA_OK) return status;
    if (!atalla::pack_tensor(*tensor, values, bytes.data())) return static_cast<int>(ATALLA_BAD_ARGUMENT);
    return atalla_engine_write_dram(engine, tensor->address, bytes.data(), bytes.size());
  });
}

int atalla_tensor_read(const atalla_engine* engine, const atalla_tensor* tensor, void* values) {
  return guarded([&] {
    if (!atalla::is_tensor(tensor) || values == nullptr) return static_cast<int>(ATALLA_BAD_ARGUMENT);
    std::vector<std::uint8_t> bytes(atalla::extent_bytes(*tensor));
    const int status = atalla_engine_read_dram(engine, tensor->address, bytes.data(), bytes.size());
    if (status != ATALLA_OK) return status;
    return static_cast<int>(atalla::unpack_tensor(*tensor, bytes.data(), values) ? ATALLA_OK : ATALLA_BAD_ARGUMENT);
  });
}
