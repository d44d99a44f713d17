/* The exported dlopen: asks cudashim_pick what the first argument shall be, then jumps to the real dlopen.
 *
 * It must jump, not call: the loader takes the caller's run paths, $ORIGIN and namespace from the return
 * address of dlopen (glibc, dlfcn/dlopen.c and elf/dl-open.c). It is assembly because a C compiler gives a
 * jump only where it pleases (not at -O0). It keeps the second argument of dlopen over the call of cudashim_pick, which
 * gets the return address as a third; cudashim_real is set once cudashim_pick has returned, whatever happened. */
__asm__(".text\n"
	".globl dlopen\n"
	".type dlopen, %function\n"
	".p2align 4\n"
	"dlopen: .cfi_startproc\n"
#if defined(__x86_64__)
	"	endbr64\n"
	"	movq (%rsp), %rdx\n"
	/* With the return address this is what the stack is aligned to for a call. */
	"	pushq %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call cudashim_pick\n"
	"	movq %rax, %rdi\n"
	"	popq %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *cudashim_real(%rip)\n"
#elif defined(__aarch64__)
	"	hint #34\n" /* bti c */
	"	stp x29, x30, [sp, #-32]!\n"
	"	.cfi_adjust_cfa_offset 32\n"
	"	.cfi_rel_offset x29, 0\n"
	"	.cfi_rel_offset x30, 8\n"
	"	mov x29, sp\n"
	"	str x1, [sp, #16]\n"
	"	mov x2, x30\n"
	"	bl cudashim_pick\n"
	"	ldr x1, [sp, #16]\n"
	"	ldp x29, x30, [sp], #32\n"
	"	.cfi_adjust_cfa_offset -32\n"
	"	.cfi_restore x29\n"
	"	.cfi_restore x30\n"
	"	adrp x16, cudashim_real\n"
	"	ldr x16, [x16, #:lo12:cudashim_real]\n"
	/* Through x16, which lands on the `bti c` of the real one. */
	"	br x16\n"
#else
#error "cudashim's preload object knows x86_64 and aarch64 only"
#endif
	"	.cfi_endproc\n"
	".size dlopen, .-dlopen");
