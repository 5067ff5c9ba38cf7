#include "cgrpc.h"
