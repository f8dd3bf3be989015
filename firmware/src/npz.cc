#include "npz.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <array>

namespace edge {
namespace {

constexpr uint32_t local_magic = 0x04034b50;
constexpr uint32_t central_magic = 0x02014b50;
constexpr uint32_t end_magic = 0x06054b50;
constexpr uint32_t end64_magic = 0x06064b50;
constexpr uint32_t locator64_magic = 0x07064b50;
constexpr size_t local_bytes = 30, central_bytes = 46, end_bytes = 22, locator64_bytes = 20,
                 end64_bytes = 56;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<uint32_t, 256> crc_table = make_crc_table();

template <typename T>
T load(const uint8_t *at) {
  T value;
  memcpy(&value, at, sizeof value);
  return value;
}

struct Member {
  std::string name;
  uint16_t flags = 0;
  uint16_t method = 0;
  uint32_t crc = 0;
  uint64_t packed = 0;
  uint64_t unpacked = 0;
  uint64_t local_at = 0;
};

// Reads by the central directory: numpy leaves the sizes in the local headers to zip64 fields.
class ZipReader {
 public:
  ZipReader(const char *path, const uint8_t *bytes, size_t size)
      : path_(path), bytes_(bytes), size_(size), unread_(size) {}

  Status read(std::vector<NamedArray> *arrays) {
    uint64_t count = 0, at = 0;
    EDGE_TRY(find_directory(&count, &at));
    for (uint64_t i = 0; i < count; ++i) {
      Member member;
      EDGE_TRY(read_entry(&at, &member));
      NamedArray named;
      EDGE_TRY(read_member(member, &named));
      arrays->push_back(std::move(named));
    }
    return Status();
  }

 private:
  bool holds(uint64_t at, uint64_t length) const { return at <= size_ && length <= size_ - at; }
  Status cut() const { return fail(EDGE_BAD_FILE, "%s is cut or damaged: copy it again", path_); }

  Status find_directory(uint64_t *count, uint64_t *at) {
    if (size_ < end_bytes) return cut();
    // The end record is last but for a comment of up to 65535 bytes.
    const size_t lowest = size_ - std::min<size_t>(size_, end_bytes + 65535);
    size_t end = size_ - end_bytes;
    while (load<uint32_t>(bytes_ + end) != end_magic) {
      if (end == lowest) return cut();
      --end;
    }
    *count = load<uint16_t>(bytes_ + end + 10);
    *at = load<uint32_t>(bytes_ + end + 16);
    if (end >= locator64_bytes &&
        load<uint32_t>(bytes_ + end - locator64_bytes) == locator64_magic) {
      const uint64_t end64 = load<uint64_t>(bytes_ + end - locator64_bytes + 8);
      if (!holds(end64, end64_bytes) || load<uint32_t>(bytes_ + end64) != end64_magic) return cut();
      *count = load<uint64_t>(bytes_ + end64 + 32);
      *at = load<uint64_t>(bytes_ + end64 + 48);
    }
    return Status();
  }

  Status read_entry(uint64_t *at, Member *member) {
    if (!holds(*at, central_bytes)) return cut();
    const uint8_t *entry = bytes_ + *at;
    if (load<uint32_t>(entry) != central_magic) return cut();
    member->flags = load<uint16_t>(entry + 8);
    member->method = load<uint16_t>(entry + 10);
    member->crc = load<uint32_t>(entry + 16);
    member->packed = load<uint32_t>(entry + 20);
    member->unpacked = load<uint32_t>(entry + 24);
    member->local_at = load<uint32_t>(entry + 42);
    const uint64_t name_size = load<uint16_t>(entry + 28);
    const uint64_t extra_size = load<uint16_t>(entry + 30);
    const uint64_t comment_size = load<uint16_t>(entry + 32);
    const uint64_t whole = central_bytes + name_size + extra_size + comment_size;
    if (!holds(*at, whole)) return cut();
    member->name.assign(reinterpret_cast<const char *>(entry) + central_bytes, name_size);
    EDGE_TRY(read_zip64(entry + central_bytes + name_size, extra_size, member));
    *at += whole;
    return Status();
  }

  // Fields of the central entry that are all ones continue, in order, in extra field 1.
  Status read_zip64(const uint8_t *extra, uint64_t size, Member *member) {
    for (uint64_t at = 0; at + 4 <= size;) {
      const uint16_t id = load<uint16_t>(extra + at);
      const uint64_t length = load<uint16_t>(extra + at + 2);
      if (length > size - at - 4) return cut();
      if (id == 1) {
        uint64_t field = at + 4;
        const uint64_t field_end = field + length;
        for (uint64_t *value : {&member->unpacked, &member->packed, &member->local_at}) {
          if (*value != UINT32_MAX) continue;
          if (field_end - field < 8) return cut();
          *value = load<uint64_t>(extra + field);
          field += 8;
        }
      }
      at += 4 + length;
    }
    return Status();
  }

  Status read_member(const Member &member, NamedArray *named) {
    std::string name = member.name;
    const std::string suffix = ".npy";
    if (name.size() >= suffix.size() &&
        name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0) {
      name.resize(name.size() - suffix.size());
    }
    const std::string label = std::string(path_) + ": array '" + name + "'";
    if ((member.flags & 1) != 0) return fail(EDGE_BAD_FILE, "%s is encrypted", label.c_str());
    if (member.method == 8) {
      return fail(EDGE_BAD_FILE,
                  "%s is compressed, saved by np.savez_compressed: use np.savez instead",
                  label.c_str());
    }
    if (member.method != 0 || member.packed != member.unpacked) {
      return fail(EDGE_BAD_FILE, "%s is packed by method %u: use np.savez", label.c_str(),
                  member.method);
    }
    if (!holds(member.local_at, local_bytes)) return cut();
    const uint8_t *local = bytes_ + member.local_at;
    if (load<uint32_t>(local) != local_magic) return cut();
    const uint64_t data_at =
        member.local_at + local_bytes + load<uint16_t>(local + 26) + load<uint16_t>(local + 28);
    if (!holds(data_at, member.unpacked)) return cut();
    // Members that share bytes would make a small file take any time to read.
    if (member.unpacked > unread_) {
      return fail(EDGE_BAD_FILE, "%s is damaged: its arrays overlap: save it again", path_);
    }
    unread_ -= member.unpacked;
    if (crc32(0, bytes_ + data_at, member.unpacked) != member.crc) {
      return fail(EDGE_BAD_FILE, "%s is damaged (its checksum differs): copy the file again",
                  label.c_str());
    }
    named->name = name;
    return parse_npy(label.c_str(), bytes_ + data_at, member.unpacked, &named->array);
  }

  const char *path_;
  const uint8_t *bytes_;
  size_t size_;
  uint64_t unread_;  // bytes that no member had yet
};

class ZipWriter {
 public:
  ZipWriter(int fd, const char *path) : fd_(fd), path_(path) {}

  Status add(const NamedArray &named) {
    std::string header;
    EDGE_TRY(npy_header(named.array.dtype, named.array.shape, &header));
    const uint64_t size = header.size() + named.array.size_bytes;
    const std::string name = named.name + ".npy";
    if (at_ + size > INT32_MAX || name.size() > UINT16_MAX || count_ == UINT16_MAX) {
      return fail(EDGE_BAD_FILE, "the outputs exceed the 2 GB that %s can hold", path_);
    }
    uint32_t crc = crc32(0, header.data(), header.size());
    crc = crc32(crc, named.array.data, named.array.size_bytes);
    // Version, flags (names are UTF-8), method, time, date (1980-01-01, the earliest), crc, sizes,
    // name length, extra length.
    std::string common;
    put16(&common, 20);
    put16(&common, 0x0800);
    put16(&common, 0);
    put16(&common, 0);
    put16(&common, 0x0021);
    put32(&common, crc);
    put32(&common, static_cast<uint32_t>(size));
    put32(&common, static_cast<uint32_t>(size));
    put16(&common, static_cast<uint16_t>(name.size()));
    put16(&common, 0);

    std::string local;
    put32(&local, local_magic);
    local += common + name + header;
    put32(&directory_, central_magic);
    put16(&directory_, 20);
    directory_ += common;
    directory_.append(10, '\0');  // comment length, disk, attributes
    put32(&directory_, static_cast<uint32_t>(at_));
    directory_ += name;
    ++count_;
    EDGE_TRY(write(local.data(), local.size()));
    return write(named.array.data, named.array.size_bytes);
  }

  Status finish() {
    const uint32_t directory_at = static_cast<uint32_t>(at_);
    std::string end = directory_;
    put32(&end, end_magic);
    put32(&end, 0);
    put16(&end, count_);
    put16(&end, count_);
    put32(&end, static_cast<uint32_t>(directory_.size()));
    put32(&end, directory_at);
    put16(&end, 0);
    return write(end.data(), end.size());
  }

 private:
  static void put16(std::string *out, uint16_t value) {
    out->append(reinterpret_cast<const char *>(&value), sizeof value);
  }
  static void put32(std::string *out, uint32_t value) {
    out->append(reinterpret_cast<const char *>(&value), sizeof value);
  }
  Status write(const void *data, size_t size) {
    at_ += size;
    return write_all(fd_, data, size, path_);
  }

  int fd_;
  const char *path_;
  uint64_t at_ = 0;
  uint16_t count_ = 0;
  std::string directory_;
};

Status write_members(int fd, const char *path, const std::vector<NamedArray> &arrays) {
  ZipWriter writer(fd, path);
  for (const NamedArray &named : arrays) EDGE_TRY(writer.add(named));
  return writer.finish();
}

}  // namespace

uint32_t crc32(uint32_t before, const void *data, size_t size) {
  const uint8_t *bytes = static_cast<const uint8_t *>(data);
  uint32_t value = ~before;
  for (size_t i = 0; i < size; ++i) value = (value >> 8) ^ crc_table[(value ^ bytes[i]) & 0xff];
  return ~value;
}

Status parse_arrays(const char *path, const uint8_t *bytes, size_t size,
                    std::vector<NamedArray> *arrays, bool *is_npz) {
  const uint32_t magic = size >= 4 ? load<uint32_t>(bytes) : 0;
  *is_npz = magic == local_magic || magic == end_magic;
  if (*is_npz) return ZipReader(path, bytes, size).read(arrays);
  NamedArray named;
  EDGE_TRY(parse_npy(path, bytes, size, &named.array));
  arrays->push_back(std::move(named));
  return Status();
}

Status ArrayFile::open(const char *path) {
  EDGE_TRY(file_.open(path));
  return parse_arrays(path, file_.data(), file_.size(), &arrays_, &is_npz_);
}

Status ArrayFile::read(int fd, const char *name) {
  EDGE_TRY(file_.read(fd, name, [](const char *called, const uint8_t *bytes) {
    const uint32_t magic = load<uint32_t>(bytes);
    if (magic == local_magic || magic == end_magic || memcmp(bytes, "\x93NUMPY", 6) == 0) {
      return Status();
    }
    return fail(EDGE_BAD_FILE, "%s brings neither an .npy nor an .npz file of numpy's", called);
  }));
  return parse_arrays(name, file_.data(), file_.size(), &arrays_, &is_npz_);
}

Status write_npz(int fd, const char *name, const std::vector<NamedArray> &arrays) {
  return write_members(fd, name, arrays);
}

Status write_npz(const char *path, const std::vector<NamedArray> &arrays) {
  Descriptor fd(::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return fail_errno(errno, "can't create %s", path);
  const Status status = write_members(fd.get(), path, arrays);
  // A file system may keep its bad news for the end.
  if (close(fd.release()) != 0 && status.ok()) return fail_errno(errno, "can't write %s", path);
  if (!status.ok()) unlink(path);
  return status;
}

}  // namespace edge
