#include "textflag.h"

// Offsets in Tile.
#define T_IN 0
#define T_OUT 48
#define T_OFFSETS 96
#define T_WEIGHTS 104
#define T_BIAS 112
#define T_RUNS 120
#define T_LENGTH 128
#define T_SLOPE 136
#define T_CEILING 140

// Offsets in Line.
#define L_IN 0
#define L_OUT 8
#define L_OFFSETS 16
#define L_WEIGHTS 24
#define L_BIAS 32
#define L_TAPS 40
#define L_CHANNELS 48
#define L_PLACES 56
#define L_INSTEP 64
#define L_OUTSTEP 72
#define L_SLOPE 80
#define L_CEILING 84

// Registers of the tiles:
//   DI      the Tile
//   R8-R13  ends of the run in each row
//   CX      bytes to the end of the run, negative
//   BX      weights
//   SI, DX  offsets of the runs that are left, and how many

// RUN moves the rows to the next run.
#define RUN \
	MOVQ (SI), AX            \
	ADDQ $8, SI              \
	MOVQ T_LENGTH(DI), CX    \
	SHLQ $2, CX              \
	ADDQ CX, AX              \
	NEGQ CX                  \
	MOVQ (T_IN+0)(DI), R8    \
	MOVQ (T_IN+8)(DI), R9    \
	MOVQ (T_IN+16)(DI), R10  \
	MOVQ (T_IN+24)(DI), R11  \
	MOVQ (T_IN+32)(DI), R12  \
	MOVQ (T_IN+40)(DI), R13  \
	ADDQ AX, R8              \
	ADDQ AX, R9              \
	ADDQ AX, R10             \
	ADDQ AX, R11             \
	ADDQ AX, R12             \
	ADDQ AX, R13

#define START \
	MOVQ t+0(FP), DI         \
	MOVQ T_OFFSETS(DI), SI   \
	MOVQ T_RUNS(DI), DX      \
	MOVQ T_WEIGHTS(DI), BX   \
	MOVQ T_BIAS(DI), AX

// Registers of the lines:
//   DI      the Line
//   R8, R9  place of input and output
//   R10     places that are left
//   R11     end of the whole blocks of channels, in bytes
//   CX      channel, in bytes

#define LINE \
	MOVQ l+0(FP), DI         \
	MOVQ L_IN(DI), R8        \
	MOVQ L_OUT(DI), R9       \
	MOVQ L_PLACES(DI), R10   \
	MOVQ L_CHANNELS(DI), R12 \
	SHLQ $2, R12             \
	MOVQ R12, R11            \
	ANDQ $-32, R11

// Two rows of a tile of 16 columns, whose weights are in Y0 and Y1.
#define PAIR16(a, b, s0, s1, s2, s3) \
	VBROADCASTSS (a)(CX*1), Y2 \
	VBROADCASTSS (b)(CX*1), Y3 \
	VFMADD231PS Y0, Y2, s0     \
	VFMADD231PS Y1, Y2, s1     \
	VFMADD231PS Y0, Y3, s2     \
	VFMADD231PS Y1, Y3, s3

// One row's end: slope in Y0, ceiling in Y1.
#define STORE16(row, s0, s1) \
	MOVQ (T_OUT+8*row)(DI), AX \
	VMULPS Y0, s0, Y2          \
	VMULPS Y0, s1, Y3          \
	VMAXPS Y2, s0, s0          \
	VMAXPS Y3, s1, s1          \
	VMINPS Y1, s0, s0          \
	VMINPS Y1, s1, s1          \
	VMOVUPS s0, (AX)           \
	VMOVUPS s1, 32(AX)

// func tile16AVX2(t *Tile)
TEXT ·tile16AVX2(SB), NOSPLIT, $0-8
	START
	VMOVUPS (AX), Y4
	VMOVUPS 32(AX), Y5
	VMOVAPS Y4, Y6
	VMOVAPS Y5, Y7
	VMOVAPS Y4, Y8
	VMOVAPS Y5, Y9
	VMOVAPS Y4, Y10
	VMOVAPS Y5, Y11
	VMOVAPS Y4, Y12
	VMOVAPS Y5, Y13
	VMOVAPS Y4, Y14
	VMOVAPS Y5, Y15

run16:
	RUN

value16:
	VMOVUPS (BX), Y0
	VMOVUPS 32(BX), Y1
	PAIR16(R8, R9, Y4, Y5, Y6, Y7)
	PAIR16(R10, R11, Y8, Y9, Y10, Y11)
	PAIR16(R12, R13, Y12, Y13, Y14, Y15)
	ADDQ $64, BX
	ADDQ $4, CX
	JNZ  value16

	DECQ DX
	JNZ  run16

	VBROADCASTSS T_SLOPE(DI), Y0
	VBROADCASTSS T_CEILING(DI), Y1
	STORE16(0, Y4, Y5)
	STORE16(1, Y6, Y7)
	STORE16(2, Y8, Y9)
	STORE16(3, Y10, Y11)
	STORE16(4, Y12, Y13)
	STORE16(5, Y14, Y15)
	VZEROUPPER
	RET

// One row of a tile of 32 columns, whose weights are in Z0 and Z1.
#define ROW32(a, s0, s1) \
	VBROADCASTSS (a)(CX*1), Z2 \
	VFMADD231PS Z0, Z2, s0     \
	VFMADD231PS Z1, Z2, s1

// One row's end: slope in Z0, ceiling in Z1.
#define STORE32(row, s0, s1) \
	MOVQ (T_OUT+8*row)(DI), AX \
	VMULPS Z0, s0, Z2          \
	VMULPS Z0, s1, Z3          \
	VMAXPS Z2, s0, s0          \
	VMAXPS Z3, s1, s1          \
	VMINPS Z1, s0, s0          \
	VMINPS Z1, s1, s1          \
	VMOVUPS s0, (AX)           \
	VMOVUPS s1, 64(AX)

// func tile32AVX512(t *Tile)
TEXT ·tile32AVX512(SB), NOSPLIT, $0-8
	START
	VMOVUPS (AX), Z4
	VMOVUPS 64(AX), Z5
	VMOVAPS Z4, Z6
	VMOVAPS Z5, Z7
	VMOVAPS Z4, Z8
	VMOVAPS Z5, Z9
	VMOVAPS Z4, Z10
	VMOVAPS Z5, Z11
	VMOVAPS Z4, Z12
	VMOVAPS Z5, Z13
	VMOVAPS Z4, Z14
	VMOVAPS Z5, Z15

run32:
	RUN

value32:
	VMOVUPS (BX), Z0
	VMOVUPS 64(BX), Z1
	ROW32(R8, Z4, Z5)
	ROW32(R9, Z6, Z7)
	ROW32(R10, Z8, Z9)
	ROW32(R11, Z10, Z11)
	ROW32(R12, Z12, Z13)
	ROW32(R13, Z14, Z15)
	ADDQ $128, BX
	ADDQ $4, CX
	JNZ  value32

	DECQ DX
	JNZ  run32

	VBROADCASTSS T_SLOPE(DI), Z0
	VBROADCASTSS T_CEILING(DI), Z1
	STORE32(0, Z4, Z5)
	STORE32(1, Z6, Z7)
	STORE32(2, Z8, Z9)
	STORE32(3, Z10, Z11)
	STORE32(4, Z12, Z13)
	STORE32(5, Z14, Z15)
	VZEROUPPER
	RET

// func weightedAVX2(l *Line)
// It computes whole blocks of eight channels.
TEXT ·weightedAVX2(SB), NOSPLIT, $0-8
	LINE
	MOVQ L_BIAS(DI), R13
	VBROADCASTSS L_SLOPE(DI), Y4
	VBROADCASTSS L_CEILING(DI), Y5

weightedPlace:
	XORQ CX, CX

weightedBlock:
	VMOVUPS (R13)(CX*1), Y0
	MOVQ L_OFFSETS(DI), SI
	MOVQ L_TAPS(DI), DX
	MOVQ L_WEIGHTS(DI), BX
	ADDQ CX, BX

weightedTap:
	MOVQ (SI), AX
	ADDQ R8, AX
	VMOVUPS (AX)(CX*1), Y1
	VFMADD231PS (BX), Y1, Y0
	ADDQ R12, BX
	ADDQ $8, SI
	DECQ DX
	JNZ  weightedTap

	VMULPS Y4, Y0, Y1
	VMAXPS Y1, Y0, Y0
	VMINPS Y5, Y0, Y0
	VMOVUPS Y0, (R9)(CX*1)
	ADDQ $32, CX
	CMPQ CX, R11
	JLT  weightedBlock

	ADDQ L_INSTEP(DI), R8
	ADDQ L_OUTSTEP(DI), R9
	DECQ R10
	JNZ  weightedPlace
	VZEROUPPER
	RET

// func largestAVX2(l *Line)
// It computes whole blocks of eight channels.
TEXT ·largestAVX2(SB), NOSPLIT, $0-8
	LINE

largestPlace:
	XORQ CX, CX

largestBlock:
	MOVQ L_OFFSETS(DI), SI
	MOVQ L_TAPS(DI), DX
	MOVQ (SI), AX
	ADDQ R8, AX
	VMOVUPS (AX)(CX*1), Y0

largestTap:
	MOVQ (SI), AX
	ADDQ R8, AX
	VMAXPS (AX)(CX*1), Y0, Y0
	ADDQ $8, SI
	DECQ DX
	JNZ  largestTap

	VMOVUPS Y0, (R9)(CX*1)
	ADDQ $32, CX
	CMPQ CX, R11
	JLT  largestBlock

	ADDQ L_INSTEP(DI), R8
	ADDQ L_OUTSTEP(DI), R9
	DECQ R10
	JNZ  largestPlace
	VZEROUPPER
	RET
