// Nothing of ruy's choice of a code path is needed: there is one.
#pragma once
