// The one thing of flatbuffers that is not in its headers: numbers are read and written in the C
// locale, whatever the application's is.
#include "flatbuffers/util.h"

namespace flatbuffers {

ClassicLocale ClassicLocale::instance_;

ClassicLocale::ClassicLocale() : locale_(newlocale(LC_ALL, "C", nullptr)) {}

ClassicLocale::~ClassicLocale() {
  freelocale(locale_);
}

}  // namespace flatbuffers
