// Makes the kernel forget all tracked connections of the namespace that the program is in.
#pragma once

void flush(void);
