#include <math.h>

#include "check.h"
#include "flags.h"
#include "json.h"

namespace edge {

TEST(json, puts_commas_where_they_belong) {
  Json json;
  json.begin_object().key("a").begin_array().number(1).integer(-2).end_array();
  json.key("b").begin_object().end_object().key("c").boolean(true).key("d").null().end_object();
  CHECK(json.text() == R"({"a":[1,-2],"b":{},"c":true,"d":null})");
}

TEST(json, escapes_what_must_be_escaped) {
  const auto text = [](const std::string &value) { return Json().string(value).text(); };
  CHECK(text("a\"b\\c\n\t\x01") == R"("a\"b\\c\n\t\u0001")");
  CHECK(text("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") == "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
  CHECK(text("\xff\xc3(\xed\xa0\x80\xc0\xaf") ==
        R"("\ufffd\ufffd(\ufffd\ufffd\ufffd\ufffd\ufffd")");
  CHECK(text("\xe2\x82") == R"("\ufffd\ufffd")");
}

TEST(json, floats_read_back_the_same) {
  CHECK(Json().real(0.1f).text() == "0.1");
  CHECK(Json().real(0.003921569f).text() == "0.003921569");
  CHECK(strtof(Json().real(1.0f / 3).text().c_str(), nullptr) == 1.0f / 3);
  CHECK(Json().real(NAN).text() == "null");
  CHECK(Json().real(-INFINITY).text() == "null");
  CHECK(Json().number(UINT64_MAX).text() == "18446744073709551615");
}

namespace {

Status parse(std::vector<std::string> words, Flags *flags) {
  std::vector<char *> argv;
  for (std::string &word : words) argv.push_back(&word[0]);
  return flags->parse(static_cast<int>(argv.size()), argv.data());
}

}  // namespace

TEST(flags, both_spellings) {
  std::string text;
  std::vector<std::string> list;
  uint64_t number = 7, iterations = 3;
  bool on = false;
  Flags flags;
  flags.text("--text", &text);
  flags.texts("--list", &list);
  flags.number("--number", 1, 9, &number);
  flags.number_or_auto("--iterations", 9, &iterations);
  flags.on("--on", &on);
  CHECK(parse({"verb", "--text=a=b", "--list", "x", "--list=y", "--on", "--iterations", "auto"},
              &flags)
            .ok());
  CHECK(text == "a=b" && list.size() == 2 && on && number == 7 && iterations == 0);
  CHECK(flags.given("--on") && !flags.given("--number"));

  CHECK_FAILS(parse({"verb", "--other", "1"}, &flags), EDGE_USAGE, "verb: unknown flag --other");
  CHECK_FAILS(parse({"verb", "stray"}, &flags), EDGE_USAGE, "unexpected argument stray");
  CHECK_FAILS(parse({"verb", "--text"}, &flags), EDGE_USAGE, "--text needs a value");
  CHECK_FAILS(parse({"verb", "--on=1"}, &flags), EDGE_USAGE, "takes no value");
  for (const char *bad : {"0", "10", "-1", "1x", "", " 1", "99999999999999999999"}) {
    CHECK_FAILS(parse({"verb", "--number", bad}, &flags), EDGE_USAGE, "from 1 to 9");
  }
}

}  // namespace edge
