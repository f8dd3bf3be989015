#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "npz.h"

namespace edge {
namespace {

std::vector<NamedArray> two_arrays() {
  static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8};
  return {{"a", {EDGE_INT32, {2}, data, 8}}, {"dense/b:0", {EDGE_INT8, {2, 2}, data, 4}}};
}

std::string read_back(const std::string &path) {
  return read_small_file(path.c_str());
}

}  // namespace

TEST(npz, crc_is_the_known_one) {
  CHECK(crc32(0, "123456789", 9) == 0xcbf43926u);
  CHECK(crc32(crc32(0, "12345", 5), "6789", 4) == 0xcbf43926u);
}

TEST(npz, reads_what_it_writes) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.npz");
  CHECK(write_npz(path.c_str(), two_arrays()).ok());
  ArrayFile file;
  CHECK(file.open(path.c_str()).ok());
  CHECK(file.is_npz() && file.arrays().size() == 2);
  CHECK(file.arrays()[0].name == "a" && file.arrays()[1].name == "dense/b:0");
  CHECK(file.arrays()[1].array.shape == (std::vector<int64_t>{2, 2}));
  CHECK(memcmp(file.arrays()[0].array.data, "\1\2\3\4\5\6\7\10", 8) == 0);
}

TEST(npz, same_arrays_same_bytes) {
  test::TemporaryFolder folder;
  CHECK(write_npz(folder.file("x").c_str(), two_arrays()).ok());
  CHECK(write_npz(folder.file("y").c_str(), two_arrays()).ok());
  CHECK(read_back(folder.file("x")) == read_back(folder.file("y")));
}

TEST(npz, empty_archive_has_no_arrays) {
  test::TemporaryFolder folder;
  CHECK(write_npz(folder.file("x").c_str(), {}).ok());
  ArrayFile file;
  CHECK(file.open(folder.file("x").c_str()).ok());
  CHECK(file.arrays().empty());
}

TEST(npz, says_why_not) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.npz");
  CHECK(write_npz(path.c_str(), two_arrays()).ok());
  const std::string whole = read_back(path);
  ArrayFile file;

  std::string compressed = whole;
  const size_t central = whole.find("PK\1\2");
  compressed[central + 10] = 8;
  test::write_file(path, compressed);
  CHECK_FAILS(file.open(path.c_str()), EDGE_BAD_FILE, "use np.savez instead");

  std::string damaged = whole;
  damaged[200] ^= 1;
  test::write_file(path, damaged);
  CHECK_FAILS(file.open(path.c_str()), EDGE_BAD_FILE, "damaged");

  CHECK_FAILS(write_npz(folder.file("no/x.npz").c_str(), two_arrays()), EDGE_NO_FILE,
              "can't create");
  CHECK_FAILS(file.open(folder.file("missing").c_str()), EDGE_NO_FILE, "can't open");
}

TEST(npz, arrays_share_no_bytes) {
  // Every entry of the directory leads to the first member.
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.npz");
  CHECK(write_npz(path.c_str(), {two_arrays()[0], two_arrays()[0]}).ok());
  std::string shared = read_back(path);
  memset(&shared[shared.rfind("PK\1\2") + 42], 0, 4);
  test::write_file(path, shared);
  CHECK(ArrayFile().open(path.c_str()).ok());  // twice 136 of 508 bytes: too few to tell

  const std::string entry = shared.substr(shared.rfind("PK\1\2"), 46 + 5);
  std::string many = shared.substr(0, shared.find("PK\1\2"));
  for (int i = 0; i < 100; ++i) many += entry;
  std::string end = shared.substr(shared.find("PK\5\6"));
  end[10] = 100;
  test::write_file(path, many + end);
  CHECK(ArrayFile().open(path.c_str()).ok() == false);
  CHECK(test::says("overlap"));
}

TEST(npz, a_name_may_be_empty) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.npz");
  CHECK(write_npz(path.c_str(), {{"", two_arrays()[0].array}}).ok());
  ArrayFile file;
  CHECK(file.open(path.c_str()).ok());
  CHECK(file.arrays()[0].name.empty());
}

TEST(npz, a_pipe_is_no_file) {
  // Nobody writes into it: opened like a file, it would wait for ever.
  test::TemporaryFolder folder;
  const std::string path = folder.file("pipe");
  CHECK(mkfifo(path.c_str(), 0600) == 0);
  alarm(10);
  CHECK_FAILS(ArrayFile().open(path.c_str()), EDGE_NO_FILE, "not a regular file");
  alarm(0);
}

TEST(npz, damage_never_leads_outside) {
  test::TemporaryFolder folder;
  const std::string path = folder.file("x.npz");
  CHECK(write_npz(path.c_str(), two_arrays()).ok());
  const std::string whole = read_back(path);
  for (size_t size = 0; size < whole.size(); size += 3) {
    test::write_file(path, whole.substr(0, size));
    CHECK(!ArrayFile().open(path.c_str()).ok());
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const int value : {0x00, 0x7f, 0xff}) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(value);
      test::write_file(path, damaged);
      const Status status = ArrayFile().open(path.c_str());
      CHECK(status.ok() || status.code() == EDGE_BAD_FILE);
    }
  }
}

}  // namespace edge
