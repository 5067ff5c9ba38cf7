#include "ccsi.h"
