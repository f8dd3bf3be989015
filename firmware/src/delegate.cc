#include "delegate.h"

#include <string>
#include <vector>

namespace edge {
namespace {

using Create = tflite::Delegate *(char **keys, char **values, size_t count,
                                  void (*report_error)(const char *));

// What the plug-in reports while it creates its delegate; the callback takes no other context.
thread_local std::string *reported = nullptr;

void report(const char *text) {
  if (reported == nullptr || text == nullptr) return;
  if (!reported->empty()) *reported += "; ";
  *reported += text;
}

// The interface wants text that may be written to.
class Texts {
 public:
  Texts(const char *const *texts, int32_t count) {
    for (int32_t i = 0; i < count; ++i) owned_.push_back(texts[i]);
    for (std::string &text : owned_) pointers_.push_back(text.data());
  }
  char **get() { return pointers_.data(); }

 private:
  std::vector<std::string> owned_;
  std::vector<char *> pointers_;
};

}  // namespace

ExternalDelegate::~ExternalDelegate() {
  if (delegate_ != nullptr) destroy_(delegate_);
}

Status ExternalDelegate::create(const edge_options &options) {
  Create *create = nullptr;
  EDGE_TRY(library_.open(options.delegate_path));
  EDGE_TRY(library_.require("tflite_plugin_create_delegate", &create));
  EDGE_TRY(library_.require("tflite_plugin_destroy_delegate", &destroy_));
  Texts keys(options.delegate_keys, options.delegate_option_count);
  Texts values(options.delegate_values, options.delegate_option_count);
  std::string said;
  reported = &said;
  delegate_ =
      create(keys.get(), values.get(), static_cast<size_t>(options.delegate_option_count), report);
  reported = nullptr;
  if (delegate_ != nullptr) return Status();
  return fail(EDGE_RUNTIME, "%s creates no delegate: %s", options.delegate_path,
              said.empty() ? "it doesn't say why; check its options and the device it is for"
                           : said.c_str());
}

}  // namespace edge
