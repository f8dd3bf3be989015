// Any bytes as a model: the checker reads none beyond them, and ends.
#include "fuzz.h"
#include "model_check.h"

using namespace edge;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const Status status = check_model("m.tflite", data, size);
  REQUIRE(status.ok() || status.code() == EDGE_BAD_MODEL);
  REQUIRE(status.ok() || last_error()[0] != '\0');
  return 0;
}
