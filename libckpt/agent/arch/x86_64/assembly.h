// Numbers of system calls within assembly.
#pragma once

#define CKPT_TEXT(number) CKPT_TEXT_OF(number)
#define CKPT_TEXT_OF(number) #number
