#include "check.h"
#include "model_flags.h"

namespace edge {

TEST(model_flags, shapes) {
  std::string name;
  edge_shape shape = {};
  CHECK(parse_shape("serving_default_x:0=1x224x224x3", &name, &shape).ok());
  CHECK(name == "serving_default_x:0" && shape.rank == 4 && shape.dims[1] == 224);
  CHECK(parse_shape("a=b=2147483647", &name, &shape).ok());
  CHECK(name == "a=b" && shape.rank == 1 && shape.dims[0] == INT32_MAX);
  CHECK(parse_shape("x=1x1x1x1x1x1x1x8", &name, &shape).ok() && shape.rank == 8);
  for (const char *wrong : {"x", "=1", "x=", "x=1x", "x=x1", "x=1xx2", "x=0", "x=-1", "x=1,2", "",
                            "x=2147483648", "x=99999999999999999999", "x=1x1x1x1x1x1x1x1x1"}) {
    CHECK_FAILS(parse_shape(wrong, &name, &shape), EDGE_USAGE, "must be NAME=1x224x224x3");
  }
}

TEST(model_flags, delegates) {
  DelegateFlag flag;
  CHECK(parse_delegate("external:/lib/d.so", &flag).ok());
  CHECK(flag.path == "/lib/d.so" && flag.keys.empty());
  flag = {};
  CHECK(parse_delegate("external:a%3Fb%25.so?k%3D=v%26w&empty=&url=a=b", &flag).ok());
  CHECK(flag.path == "a?b%.so");
  CHECK((flag.keys == std::vector<std::string>{"k=", "empty", "url"}));
  CHECK((flag.values == std::vector<std::string>{"v&w", "", "a=b"}));
  for (const char *wrong : {"", "gpu", "external:", "external:?a=b", "external:x?a",
                            "external:x?=b", "external:x?a=b&&", "external:x%2", "external:x%zz",
                            "external:x%00", "external:x?a=%", "external:x?a=b&c"}) {
    CHECK_FAILS(parse_delegate(wrong, &flag), EDGE_USAGE, "must be external:PATH?key=value");
  }
}

}  // namespace edge
